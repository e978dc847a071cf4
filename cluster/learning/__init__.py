"""The learner's parts: agent, snapshots, log, task changes, and links to the other roles."""

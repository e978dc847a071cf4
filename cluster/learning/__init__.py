"""The parts of the learner: its agent, snapshots, log, change of task, and ways to the others."""

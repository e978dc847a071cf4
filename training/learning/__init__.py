"""What changes parameters: the learner's state, which updates are due, changes of task."""

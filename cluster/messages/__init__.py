"""Messages between learner, actors and evaluator, through the replay server's tables."""

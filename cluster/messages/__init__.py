"""What learner, actors and evaluator tell each other, by way of the replay server's tables."""

"""The learner's bookkeeping: frames and episodes of actors, updates due, credit."""

"""What the learner reckons with: frames and episodes of actors, updates due, credit."""

"""From the server's table to the learner's batches, and the new priorities back."""

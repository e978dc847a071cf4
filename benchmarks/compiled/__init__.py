"""What XLA makes of a program for a GPU, without one: compiled here, read and counted as text."""

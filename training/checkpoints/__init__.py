"""A run's state on the disk, written whole or not at all, and back."""

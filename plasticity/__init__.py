"""What keeps a network trainable, and what shows whether it is: projection, schedules, metrics.

Pure functions of parameter trees and optax transformations. Called by agents and training/; imports
core/ alone.
"""

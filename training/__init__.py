"""A run in one process: the loop, and its components.

Rooms: learning, acting, checkpoints, logs, system. Called by cluster/ and scripts/; imports
agents/, replay/, envs/ and what they import.
"""

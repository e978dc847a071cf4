"""A run in one process: the loop, and what it is put together from.

Rooms: learning, acting, checkpoints, logs, system. Called by cluster/ and scripts/; imports
agents/, replay/, envs/ and what they import.
"""

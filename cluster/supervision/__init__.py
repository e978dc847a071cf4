"""Processes that are started, watched and restarted, here or by Ray."""

"""Algorithms as pure functions, one file each, to be read from top to bottom.

An agent is found by its file's name (`agent.module`) and built by training/ and cluster/. It may
import networks/, plasticity/ and core/: no threads, files, environments or replay.
"""

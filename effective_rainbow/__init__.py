"""The command `effective-rainbow`: the programs of scripts/ from any directory.

The one name that an installation adds to Python's: the project's rooms (agents, envs ...) have
names that anybody's project may have, so they are not installed beside other packages.
"""

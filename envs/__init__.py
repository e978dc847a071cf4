"""Batched dm_env environments; found by name (`environment.module`), one file each.

base.py has the contract. Called by training/, cluster/ and analysis/ (names of games); imports
core/ alone.
"""

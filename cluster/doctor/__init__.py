"""What a machine can do for a configuration, and what is missing, each check with its remedy.

Called by scripts.doctor; imports what a run of one or several processes imports.
"""

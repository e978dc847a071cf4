"""Experiments, and nothing else: each file has get_config and is named on the command line.

Nothing imports them but other experiments and tests; scripts load them by their paths.
"""

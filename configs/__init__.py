"""Experiments, and nothing else: each file has get_config and is named on the command line.

Only other experiments, tests and benchmarks import them; scripts load them by their paths.
"""

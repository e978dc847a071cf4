"""Statistics, figures, tables and the comparison report, out of what runs have written.

Called by scripts/. Imports envs/ (names of games) and core/: it never needs what trained a run.
"""

"""Statistics, figures, tables and the comparison report, made from what runs wrote.

Called by scripts/. Imports envs/ (names of games) and core/: it never needs what trained a run.
"""

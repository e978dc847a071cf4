"""The report of an experiment as one page: what it shows, its figures, its layout.

Called by scripts/report.py; imports analysis/, envs/ and core/.
"""

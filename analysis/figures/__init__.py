"""Pictures of runs and scores by themselves; those of a comparison are in analysis/reporting/.

Called by scripts/plot.py, scores.py and probe_plasticity.py, and by reports; imports analysis/ and
core/.
"""

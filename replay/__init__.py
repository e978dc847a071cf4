"""Where transitions are kept: on the learner's device, or in a Reverb server.

base.py has the contract. Called by training/ (device) and cluster/ (reverb); imports core/ alone.
"""

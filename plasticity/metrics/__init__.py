"""What shows how trainable a network is, as pure functions: norms, units, ranks.

Called by agents/ and training/; imports plasticity/ and core/.
"""

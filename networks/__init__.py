"""Parts that agents make their networks of: torsos, heads, linear layers, normalization.

Called by agents. Imports core/ alone.
"""

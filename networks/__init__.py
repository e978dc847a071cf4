"""Parts that agents build their networks from: torsos, heads, linear layers, normalization.

Called by agents. Imports core/ alone.
"""

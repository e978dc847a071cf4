"""From features to the values of actions.

A head may import the parts of networks/ and core/.
"""

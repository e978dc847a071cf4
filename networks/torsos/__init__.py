"""From observations to features; found by name (`network.torso.module`), one file each.

A torso may import the parts of networks/ and core/.
"""

"""Random numbers without a generator whose state would have to be saved: hashes of counts.

The hash is splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"),
with the environment's key mixed before the count is added.
"""

import numpy as np


def bits(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """uint64 [N] for keys and counts uint64 [N]."""
    return _mix(_mix(keys) + counts * np.uint64(0x9E3779B97F4A7C15))


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

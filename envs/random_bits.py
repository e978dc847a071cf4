"""Random numbers without a generator whose state would have to be saved: hashes of counts.

The hash is splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"),
with the environment's key mixed before the count is added.
"""

import numpy as np


def bits(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """uint64 [N] for keys and counts uint64 [N]."""
    return _mix(_mix(keys) + counts * np.uint64(0x9E3779B97F4A7C15))


def normals(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Two independent draws of N(0, 1) each, float64 [N, 2] (Box & Muller 1958).

    Args:
      keys: uint64 [N].
      counts: uint64 [N]; each gives draws of its own.
    """
    first, second = (
        # 53 bits; the half keeps the logarithm's argument above 0.
        ((bits(keys, np.uint64(2) * counts + np.uint64(i)) >> np.uint64(11)) + 0.5) * 2.0**-53
        for i in range(2)
    )
    radius, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

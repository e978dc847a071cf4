"""Keys of random numbers that agents share out."""

import jax
import numpy as np

from agents import base


def _data(keys):
    return {tuple(row) for row in np.atleast_2d(np.asarray(jax.random.key_data(keys)))}


def test_what_is_drawn_beside_a_split_has_a_key_of_its_own():
    """Of fold_in(key, 1), which is split(key, 3)[1], a reset drew what noisy layers drew."""
    key = jax.random.key(3)
    split = {row for parts in range(1, 9) for row in _data(jax.random.split(key, parts))}
    numbers = (base.REGULARIZERS, *range(base.OPERATIONS, 9), base.BONUS, base.MEASUREMENTS)
    apart = {row for number in numbers for row in _data(base.apart(key, number))}
    assert len(apart) == len(numbers) == 11
    assert not apart & split

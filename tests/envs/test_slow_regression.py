"""Slow bits, fast bits, and the target network."""

import itertools

import numpy as np
import pytest

from core import checks
from envs import base, slow_regression


def _parameters(task):
    found = slow_regression.parameters_of(slow_regression.Settings(task=task))
    return {name: np.asarray(x) for name, x in found.items()}


def test_one_slow_bit_flips_with_each_task_and_the_target_stays():
    tasks = [_parameters(task) for task in range(40)]
    flipped = [np.flatnonzero(a["slow"] != b["slow"]) for a, b in itertools.pairwise(tasks)]
    assert [len(which) for which in flipped] == [1] * 39
    assert len({int(which[0]) for which in flipped}) > 10
    for name in ("inputs", "outputs"):
        np.testing.assert_array_equal(tasks[0][name], tasks[39][name])
        assert set(np.unique(tasks[0][name])) == {-1.0, 1.0}


def test_a_reward_is_the_target_of_the_bits_before_it():
    chosen = slow_regression.Settings(task=3)
    parameters = _parameters(3)
    environment = base.make(chosen, 4, 0)
    timestep = environment.reset()
    seen = []
    for _ in range(50):
        bits = np.asarray(timestep.observation)
        np.testing.assert_array_equal(bits[:, :15], np.tile(parameters["slow"], (4, 1)))
        np.testing.assert_array_equal(bits[:, -1], 1)
        assert set(np.unique(bits)) <= {0.0, 1.0}
        seen.append(bits[:, 15:20])
        timestep = environment.step(np.zeros(4, int))
        # A unit wants a 1 where its weight is 1 and a 0 elsewhere, in more than 0.7 of 21 places.
        for row, reward in zip(bits, timestep.reward):
            agreed = ((parameters["inputs"] > 0) == (row[:, None] > 0)).sum(0)
            assert reward == parameters["outputs"][agreed > 0.7 * 21].sum()
    assert 0.3 < np.mean(seen) < 0.7


def test_more_slow_bits_than_bits_are_refused():
    with pytest.raises(checks.ConfigError, match="slow_bits = 9: expected at most bits = 8"):
        slow_regression.Settings(bits=8, slow_bits=9)

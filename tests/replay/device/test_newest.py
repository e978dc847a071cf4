"""Every transition once, in order."""

import jax
import numpy as np
import pytest

from core import checks
from replay.device import newest
from tests.replay.device import test_uniform


def test_samples_are_the_newest_and_no_draw():
    ring = test_uniform.make_ring(num_envs=3, num_rows=6, n_step=1)
    replay, steps = newest.NewestReplay(ring), test_uniform.Steps(ring)
    state, before = replay.init(), None
    add, sample = jax.jit(replay.add), jax.jit(replay.sample, static_argnums=2)
    for i in range(20):
        step = steps.next()._replace(is_first=np.full(3, i == 0), is_last=np.zeros(3, bool))
        state = add(state, step)
        if before is not None:
            found = sample(state, jax.random.key(i), 3)
            np.testing.assert_array_equal(found.transition.s_tm1, before.observation)
            np.testing.assert_array_equal(found.transition.a_tm1, before.action)
            np.testing.assert_array_equal(found.transition.r_t, step.reward)
        before = step


def test_measurements_draw_from_all_of_it():
    ring = test_uniform.make_ring(num_envs=3, num_rows=6, n_step=1)
    replay, steps = newest.NewestReplay(ring), test_uniform.Steps(ring)
    state = replay.init()
    for _ in range(20):
        state = replay.add(state, steps.next())
    drawn = replay.sample_uniform(state, jax.random.key(0), 500)
    assert set(np.asarray(drawn.keys).tolist()) == set(test_uniform.keys_of(state))


def test_a_batch_is_never_more_than_there_is():
    with pytest.raises(checks.ConfigError, match=r"batch_size = 32: expected at most replay\.min_"):
        newest.Settings(min_size=31)
    spec = test_uniform.make_ring(num_envs=3).spec
    with pytest.raises(
        checks.ConfigError, match=r"batch_size = 4: expected num_envs = 3 with repl"
    ):
        newest.make(newest.Settings(capacity=30, min_size=6, batch_size=4), spec)

"""Exploring for novelty: what is rewarded, and what is recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base as agents_base
from configs import point_mass
from core import checks, types
from training import derived, novelty, run_settings


def test_bonuses_have_mean_0_and_deviation_1():
    np.testing.assert_allclose(novelty.bonuses(jnp.float32([1, 3])), [-1, 1], rtol=1e-6)


def test_what_was_seen_is_less_novel_than_what_was_not():
    rnd = novelty.Novelty()
    seen, unseen = jnp.full((8, 2), 0.3), jnp.full((8, 2), -0.8)
    state = rnd.init(jax.random.key(0), seen)
    before = float(rnd.errors(state, unseen)[0])
    assert float(rnd.errors(state, seen)[0]) > 1
    update = jax.jit(rnd.update)
    fixed = jax.tree.map(np.array, state.fixed)
    for _ in range(200):
        state = update(state, seen)
    assert float(rnd.errors(state, seen)[0]) < 1e-3 * before
    assert float(rnd.errors(state, unseen)[0]) > 0.1 * before
    jax.tree.map(np.testing.assert_array_equal, fixed, state.fixed)


def test_the_origin_is_no_special_place():
    """It would be if the networks had no biases."""
    rnd = novelty.Novelty()
    states = (rnd.init(jax.random.key(seed), jnp.zeros((1, 2))) for seed in range(5))
    assert all(float(rnd.errors(state, jnp.zeros((1, 2)))[0]) > 1 for state in states)


def test_an_update_is_made_of_bonuses_and_discounts():
    """What the agent is given: the errors at s_t made standard, and gamma where nothing ends."""
    given = []

    def update(state, rng, batch, weights):
        given.append((batch, weights))
        return agents_base.Updated(state, None, {})

    agent = agents_base.Agent(**dict.fromkeys(agents_base.Agent._fields, update))
    explorer = novelty.Explorer(agent, 0.5, novelty.Novelty())
    x = jnp.float32([[0.1, 0.2], [0.3, 0.9], [0.7, 0.5]])
    batch = types.Transition(x, jnp.zeros(3, int), jnp.full(3, 7.0), jnp.float32([1, 0, 1]), 1 - x)
    seen = explorer.novelty.init(jax.random.key(0), x)
    errors = np.asarray(explorer.novelty.errors(seen, 1 - x))
    _, after = explorer.update((), seen, jax.random.key(1), batch)
    ((found, weights),) = given
    np.testing.assert_allclose(found.r_t, (errors - errors.mean()) / errors.std(), rtol=1e-5)
    np.testing.assert_allclose(found.discount_t, [0.5, 0, 0.5])
    np.testing.assert_allclose(weights, 1)
    later = explorer.novelty.errors(after, 1 - x)
    assert float(later.mean()) < errors.mean()


def test_what_can_not_be_explored_is_refused():
    config = point_mass.get_config("easy")
    config.transition.n_step = 3
    with pytest.raises(checks.ConfigError, match=r"transition.n_step = 1, found .* 0 and 3"):
        novelty.record(run_settings.parse(derived.resolve(config)), 10, 1, lambda: False)


@pytest.fixture
def settings():
    config = point_mass.get_config("easy")
    config.replay.min_size = 150
    config.environment.max_steps = 30
    return run_settings.parse(derived.resolve(config))


def test_the_steps_are_those_of_the_environment(settings):
    steps = novelty.record(settings, 300, seed=1, stop=lambda: False)
    assert {len(column) for column in steps} == {300}
    # A first step follows a last one; an action moves a point by 1 of 10, and noise on the way.
    np.testing.assert_array_equal(steps.is_first[1:], steps.is_last[:-1])
    inside = ~steps.is_first[1:]
    moved = np.abs(np.diff(steps.observation, axis=0))[inside] * 10
    assert 0.2 < moved.mean() < 1
    assert moved.max() < 4
    assert set(np.unique(steps.reward)) <= {-1.0, 0.0}
    assert set(np.unique(steps.action)) == set(range(5))


def test_a_stop_records_nothing(settings):
    assert novelty.record(settings, 300, seed=1, stop=lambda: True) is None


def test_transitions_do_not_cross_episodes():
    memory = novelty._Memory(6, (1,))
    steps = [
        (0, True, False),
        (1, False, False),
        (2, False, True),
        (3, True, False),
        (4, False, True),
    ]
    for value, is_first, is_last in steps:
        step = _TimeStep(value, is_first, is_last)
        memory.add(step, np.float32([value]), np.int32([value]))
    batch = memory.sample(np.random.default_rng(0), 200)
    pairs = set(zip(batch.s_tm1[:, 0].tolist(), batch.s_t[:, 0].tolist()))
    assert pairs == {(0, 1), (1, 2), (3, 4)}
    np.testing.assert_array_equal(batch.r_t, batch.s_t[:, 0])
    np.testing.assert_array_equal(batch.a_tm1, batch.s_tm1[:, 0])


class _TimeStep:
    def __init__(self, value, is_first, is_last):
        self.observation = np.float32([[value]])
        self.discount = np.float32([1])
        self._flags = is_first, is_last

    def first(self):
        return [self._flags[0]]

    def last(self):
        return [self._flags[1]]

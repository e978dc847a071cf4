"""Values against the returns that follow, on a probe whose returns are known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from agents import base as agents_base
from configs import probe
from envs import gymnasium_vector
from training import derived, run_settings
from training.acting import overestimation, policy
from training.system import stopping


@pytest.fixture
def player():
    """Values everything at 2, on the probe of two steps with reward 1 at the end; gamma 0.5."""
    config = probe.get_config("dqn:3")
    config.transition.discount = 0.5
    settings = run_settings.parse(derived.resolve(config))

    def act(params, rng, observations, steps, mode):
        del params, rng, steps, mode
        return jnp.zeros(len(observations), jnp.int32)

    functions = dict.fromkeys(agents_base.Agent._fields, act)
    functions["apply"] = lambda params, rng, observations: jnp.full((len(observations), 1), 2.0)
    return policy.Policy(settings, agents_base.Agent(**functions), (), 0, 0, 1)


def _measure(player, num_episodes, **options):
    functions = overestimation.make(player)
    return overestimation.measure(player, functions, num_episodes, seed=1, **options)


def test_the_difference_is_that_by_hand(player):
    """The two states are worth 0.5 and 1."""
    found = _measure(player, 3)
    assert (found.value, found.discounted_return) == pytest.approx((2.0, 0.75))
    assert found.difference == pytest.approx(1.25)
    assert (found.states, found.episodes) == (6, 3)


def test_returns_are_discounted_until_the_end():
    rewards = np.array([[1.0, 0.0], [2.0, 4.0], [4.0, 8.0]])
    discounts = np.array([[0.5, 0.0], [0.5, 0.5], [0.0, 0.0]])
    found = overestimation.discounted_returns(rewards, discounts)
    np.testing.assert_allclose(found, [[3.0, 0.0], [4.0, 8.0], [4.0, 8.0]])


def test_episodes_that_do_not_end_are_left_out(player):
    endless = gymnasium_vector.Settings(id="tests.training.acting.endless:Endless-v0")
    evaluation = dataclasses.replace(player.settings.evaluation, max_episode_frames=100)
    settings = dataclasses.replace(player.settings, environment=endless, evaluation=evaluation)
    found = _measure(player._replace(settings=settings), 2)
    assert (found.states, found.episodes) == (0, 0)
    assert np.isnan(found.difference)


def test_it_stops_when_told_to(player):
    with pytest.raises(stopping.Stopped):
        _measure(player, 2, stop=lambda: True)

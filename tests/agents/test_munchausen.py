"""Munchausen's targets by hand, and in the losses of DQN and IQN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import dqn, iqn, soft_q
from core import types
from networks.heads import quantiles
from tests.agents import small_agents
from tests.agents.small_agents import observations, transitions

ON = soft_q.MunchausenSettings(enabled=True)
# A target network's values before and after; the second action of the first pair is unlikely.
Q_TM1 = jnp.float32([[1, 0]])
Q_T = jnp.float32([[2, 2]])
# Of two equally likely actions: their value and an entropy of tau log 2.
SOFT = 2 + 0.03 * np.log(2)


def transition(action):
    batch = types.Transition(None, jnp.int32([action]), jnp.float32([0.5]), None, None)
    return batch._replace(discount_t=jnp.float32([0.9]))


@pytest.mark.parametrize(("action", "bonus"), [(0, 0.0), (1, -0.9)])
def test_the_bonus_by_hand(action, bonus):
    """The product tau log pi is about (0, -1) for values (1, 0) and tau = 0.03."""
    found = soft_q.scaled_log_policy(Q_TM1, 0.03)
    np.testing.assert_allclose(found, [[0, -1]], atol=1e-6)
    rewarded = soft_q.with_bonus(transition(action), Q_TM1, ON)
    np.testing.assert_allclose(rewarded.r_t, [0.5 + bonus], atol=1e-6)


def test_the_bonus_is_clipped():
    rewarded = soft_q.with_bonus(transition(1), 100 * Q_TM1, ON)
    np.testing.assert_allclose(rewarded.r_t, [0.5 - 0.9], atol=1e-6)


def test_soft_values_by_hand():
    np.testing.assert_allclose(soft_q.soft_values(Q_T, Q_T, 0.03), [SOFT], rtol=1e-6)
    # tau log sum exp(q / tau), which for a small tau is the largest value.
    q_values = jnp.float32([[0.3, 0.1, 0.0]])
    expected = 0.5 * np.log(np.exp(np.float64(q_values[0]) / 0.5).sum())
    np.testing.assert_allclose(soft_q.soft_values(q_values, q_values, 0.5), [expected], 1e-6)
    found = soft_q.soft_values(q_values, q_values, 1e-3)
    np.testing.assert_allclose(found, [0.3], atol=1e-6)


def tables(params, rng, observations):
    """A network that is a table of values: the first row before, the second one after."""
    del rng
    return params[observations[:, 0].astype(int)]


def batch(action):
    states = {"s_tm1": jnp.zeros((1, 1)), "s_t": jnp.ones((1, 1))}
    return transition(action)._replace(**states)


@pytest.mark.parametrize(("action", "bonus"), [(0, 0.0), (1, -0.9)])
def test_dqn_learns_the_soft_target(action, bonus):
    agent = dqn.Settings(loss="squared", munchausen=ON)
    loss = dqn.make_loss(tables, agent)
    target = jnp.concatenate([Q_TM1, Q_T])
    value, _ = loss(jnp.zeros((2, 2)), target, jax.random.key(0), batch(action), jnp.ones(1))
    assert float(value) == pytest.approx((0.5 + bonus + 0.9 * SOFT) ** 2 / 2, rel=1e-5)


@pytest.mark.parametrize(("action", "bonus"), [(0, 0.0), (1, -0.9)])
def test_iqn_learns_the_soft_target_at_every_share(action, bonus):
    """Two quantiles beside the mean, moved alike, with kappa 0: the mean of two distances."""

    def apply(params, rng, x):
        values = tables(params, rng, x)
        spread = jnp.float32([-0.1, 0.1])[None, :, None]
        return quantiles.distribution(values[:, None] + spread, jnp.float32([[0.5, 0.5]]))

    agent = iqn.Settings(munchausen=ON, kappa=0.0)
    loss = iqn.make_loss(iqn.Passes(apply, apply, apply), agent)
    target = jnp.concatenate([Q_TM1, Q_T])
    value, _ = loss(jnp.zeros((2, 2)), target, jax.random.key(0), batch(action), jnp.ones(1))
    goals = 0.5 + bonus + 0.9 * (SOFT + np.float64([-0.1, 0.1]))
    expected = sum(0.5 * np.abs(goals - q).mean() for q in (-0.1, 0.1))
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["dqn", "iqn"])
def test_it_is_off_unless_enabled_and_keeps_every_bit(name):
    """Its other keys have no effect then; enabled, it changes the update."""
    variants = (
        soft_q.MunchausenSettings(),
        soft_q.MunchausenSettings(scale=0.1, temperature=1.0, bound=5.0),
        ON,
    )
    updated = []
    for chosen in variants:
        agent = small_agents.make(name, munchausen=chosen)
        state = agent.init(jax.random.key(0), observations(1))
        arguments = (jax.random.key(1), transitions(4), jnp.ones(4))
        updated.append(jax.jit(agent.update)(state, *arguments))
    jax.tree.map(np.testing.assert_array_equal, updated[0], updated[1])
    assert float(updated[0].metrics["loss"]) != float(updated[2].metrics["loss"])
    assert np.isfinite(float(updated[2].metrics["loss"]))

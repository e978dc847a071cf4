"""DQN's loss and its exploration by hand, and its whole update against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import dqn, exploration, q_learning
from core import types
from tests.agents import small_agents
from tests.agents.small_agents import NUM_ACTIONS, observations, transitions

# Of two transitions: q-values before, those of the target network after, and what lies between.
Q_TM1 = jnp.float32([[1, 2], [3, 5]])
Q_TARGET = jnp.float32([[4, 2], [7, 8]])
TRANSITION = types.Transition(
    s_tm1=jnp.zeros((2, 1)),
    a_tm1=jnp.int32([0, 1]),
    r_t=jnp.float32([0.5, -1]),
    discount_t=jnp.float32([0.9, 0]),
    s_t=jnp.zeros((2, 1)),
)
# 0.5 + 0.9 * 4 - 1, and -1 + 0 - 5.
ERRORS = np.float32([3.1, -6])


def loss_and_gradient(weights=(1.0, 1.0), **changes):
    """Of tables of q-values, which are the parameters themselves."""
    loss = dqn.make_loss(lambda params, rng, observations: params, dqn.Settings(**changes))
    scalar = lambda q: loss(q, Q_TARGET, jax.random.key(0), TRANSITION, jnp.float32(weights))  # noqa: E731
    (value, output), gradient = jax.value_and_grad(scalar, has_aux=True)(Q_TM1)
    return float(value), output, np.asarray(gradient)


def test_the_target_is_the_reward_and_the_discounted_best_value():
    arguments = (Q_TM1, TRANSITION.a_tm1, TRANSITION.r_t, TRANSITION.discount_t, Q_TARGET)
    np.testing.assert_allclose(dqn.td_errors(*arguments), ERRORS, rtol=1e-6)


def test_the_clipped_loss_is_half_the_square_and_its_gradient_is_bounded():
    """Each transition's part of the batch's gradient is 1/32 at most: DQN Zoo's Huber loss."""
    value, output, gradient = loss_and_gradient()
    assert value == pytest.approx(np.mean(np.square(ERRORS) / 2), rel=1e-6)
    assert float(output.metrics["td_loss"]) == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(gradient, [[-1 / 32, 0], [0, 1 / 32]], rtol=1e-6)
    assert output.priorities is None


def test_within_the_bound_the_gradient_is_the_error():
    """Of the mean over two transitions: half of it, less the sign of the target."""
    _, _, gradient = loss_and_gradient(max_td_gradient=100.0)
    np.testing.assert_allclose(gradient, [[-3.1 / 2, 0], [0, 6 / 2]], rtol=1e-6)
    _, _, gradient = loss_and_gradient(max_td_gradient=2.0)
    np.testing.assert_allclose(gradient, [[-3.1 / 2, 0], [0, 2]], rtol=1e-6)


def test_weights_weigh_losses_before_the_mean():
    value, _, _ = loss_and_gradient(weights=(0.5, 0.0))
    assert value == pytest.approx(0.5 * ERRORS[0] ** 2 / 2 / 2, rel=1e-6)


def test_hubers_loss_by_hand():
    """Half the square up to 1, then straight: 0.5 of 1, and 1.5 of 2."""
    losses = q_learning.losses_of(jnp.float32([0.5, 2, -2, 1]), dqn.Settings(loss="huber"))
    np.testing.assert_allclose(losses, [0.125, 1.5, 1.5, 0.5], rtol=1e-6)
    value, _, gradient = loss_and_gradient(loss="huber")
    assert value == pytest.approx((2.6 + 5.5) / 2, rel=1e-6)
    np.testing.assert_allclose(gradient, [[-0.5, 0], [0, 0.5]], rtol=1e-6)


def test_no_gradient_reaches_the_target_network():
    loss = dqn.make_loss(lambda params, rng, observations: params, dqn.Settings())
    scalar = lambda q: loss(Q_TM1, q, jax.random.key(0), TRANSITION, jnp.ones(2))[0]  # noqa: E731
    assert not np.asarray(jax.grad(scalar)(Q_TARGET)).any()


# The update.


def test_an_update_is_gradient_clip_adam_and_a_copy_every_second_time():
    """Three updates of its own optax chain, bit by bit; the target is what params were at 2.

    Both without jit, so that no operation is fused into another.
    """
    agent = small_agents.make("dqn", optimizer={"learning_rate": 1e-2, "max_gradient_norm": 0.05})
    loss = dqn.make_loss(agent.apply, dqn.Settings())
    adam = optax.adam(1e-2, b1=0.9, b2=0.999, eps=1.5625e-4)
    optimizer = optax.chain(optax.clip_by_global_norm(0.05), adam)
    state = agent.init(jax.random.key(0), observations(1))
    params, target, opt_state = state.params, state.params, optimizer.init(state.params)
    for t in range(1, 4):
        batch, rng = transitions(4, seed=t), jax.random.key(t)
        (value, _), grads = jax.value_and_grad(loss, has_aux=True)(
            params, target, rng, batch, jnp.ones(4)
        )
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        target = params if t % 2 == 0 else target
        updated = agent.update(state, rng, batch, jnp.ones(4))
        state = updated.state
        assert float(updated.metrics["loss"]) == float(value)
        assert float(updated.metrics["gradient_norm"]) == float(optax.global_norm(grads))
        jax.tree.map(np.testing.assert_array_equal, state.params, params)
        jax.tree.map(np.testing.assert_array_equal, state.target_params, target)
    assert updated.priorities is None


# Exploration.

EPSILON = exploration.EpsilonSettings(begin=1.0, end=0.1, begin_steps=100, decay_steps=200)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(0, 1.0), (99, 1.0), (100, 1.0), (200, 0.55), (250, 0.325), (300, 0.1), (10**9, 0.1)],
)
def test_epsilon_falls_straight_with_the_agents_steps(steps, expected):
    found = EPSILON.at(jnp.int32(steps), "training")
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert found.dtype == jnp.float32


def test_epsilon_of_evaluations_is_their_own():
    assert EPSILON.at(jnp.int32(0), "evaluation") == 0.05


def act(steps, mode, epsilon, num_rows=6000):
    """Actions on the same observation, and the greedy one."""
    agent = small_agents.make("dqn", epsilon=epsilon, head={"noisy": False})
    params = agent.init(jax.random.key(0), observations(1)).params
    x = jnp.tile(observations(1), (num_rows, 1))
    actions = jax.jit(agent.act, static_argnums=4)(
        params, jax.random.key(1), x, jnp.int32(steps), mode
    )
    greedy = int(jnp.argmax(agent.apply(params, jax.random.key(2), observations(1))[0]))
    return np.asarray(actions), greedy


def assert_shares(actions, greedy, epsilon):
    """Within five standard errors of uniform actions with probability epsilon, else the greedy."""
    expected = np.full(NUM_ACTIONS, epsilon / NUM_ACTIONS)
    expected[greedy] += 1 - epsilon
    shares = np.bincount(actions, minlength=NUM_ACTIONS) / len(actions)
    assert (
        np.abs(shares - expected) <= 5 * np.sqrt(expected * (1 - expected) / len(actions))
    ).all()


@pytest.mark.parametrize(("steps", "epsilon"), [(0, 1.0), (99, 1.0), (200, 0.55), (10**6, 0.1)])
def test_actions_are_uniform_before_learning_and_mostly_greedy_after(steps, epsilon):
    actions, greedy = act(steps, "training", EPSILON)
    assert_shares(actions, greedy, epsilon)
    assert set(actions.tolist()) == set(range(NUM_ACTIONS))


def test_evaluations_have_an_epsilon_of_their_own_whatever_the_steps():
    for epsilon in (0.0, 0.3):
        settings = exploration.EpsilonSettings(evaluation=epsilon)
        actions, greedy = act(0, "evaluation", settings)
        assert_shares(actions, greedy, epsilon)

"""Double and Prioritized DQN: errors by hand, and a whole update against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import double_q, q_learning
from core import types
from tests.agents import numpy_twin, small_agents
from tests.agents.small_agents import observations, transitions

HEAD = {"dueling": False, "noisy": False, "shared_bias": True}
OPTIMIZER = {
    "name": "rmsprop",
    "kwargs": numpy_twin.RMSPROP,
    "learning_rate": numpy_twin.LEARNING_RATE,
    "max_gradient_norm": 0.0,
}
both = pytest.mark.parametrize("name", ["double_q", "prioritized"])


def test_the_online_network_chooses_and_the_target_network_values():
    """0.5 + 0.9 * 2 - 1, where the target network's own best is 4; and -1 + 0 - 5."""
    transition = types.Transition(
        s_tm1=jnp.zeros((2, 1)),
        a_tm1=jnp.int32([0, 1]),
        r_t=jnp.float32([0.5, -1]),
        discount_t=jnp.float32([0.9, 0]),
        s_t=jnp.zeros((2, 1)),
    )
    q_tm1, q_t = jnp.float32([[1, 2], [3, 5]]), jnp.float32([[4, 2], [7, 8]])
    selector = jnp.float32([[0, 1], [1, 0]])
    errors = double_q.td_errors(q_tm1, transition, q_t, selector)
    np.testing.assert_allclose(errors, [1.3, -6], rtol=1e-6)


@both
def test_gradients_of_errors_are_bounded_also_with_weights(name):
    """Whatever a transition weighs, its error's part of the gradient is at most 1/32."""
    agent = small_agents.sections(name).agent
    loss = double_q.make_loss(lambda params, rng, observations: params, agent)
    batch = transitions(4)._replace(r_t=jnp.float32([100, -100, 0.1, 50]))
    zeros = jnp.zeros((4, 3))
    scalar = lambda q: loss(q, zeros, jax.random.key(0), batch, jnp.float32([1, 9, 1, 0]))[0]  # noqa: E731
    gradient = np.asarray(jax.grad(scalar)(zeros)).sum(1)
    np.testing.assert_allclose(gradient, [-1 / 32, 1 / 32, -0.1 / 4, 0], rtol=1e-5)


def test_the_squared_loss_is_not_clipped():
    errors = jnp.float32([3, -4])
    agent = q_learning.LossSettings(loss="squared")
    np.testing.assert_allclose(q_learning.losses_of(errors, agent), [4.5, 8])
    gradient = jax.grad(lambda x: q_learning.losses_of(x, agent).sum())(errors)
    np.testing.assert_allclose(gradient, errors)


def twin_update(params, target_params, batch, weights):
    """Errors, loss and the parameters afterwards."""
    q_values = lambda p, x: numpy_twin.head(p, numpy_twin.features(p, x))[..., 0]  # noqa: E731
    rows = np.arange(len(batch.a_tm1))
    chosen = q_values(params, batch.s_t).argmax(1)
    goal = batch.r_t + batch.discount_t * q_values(target_params, batch.s_t)[rows, chosen]
    errors_of = lambda p: goal - q_values(p, batch.s_tm1)[rows, batch.a_tm1]  # noqa: E731
    errors = errors_of(params)
    factors = np.clip(weights * errors / len(rows), -1 / 32, 1 / 32)
    grads = numpy_twin.gradient(lambda p: np.sum(factors * errors_of(p)), params)
    return errors, np.mean(weights * errors**2 / 2), numpy_twin.rmsprop(params, grads)


@both
def test_an_update_is_that_of_its_twin(name):
    agent = small_agents.make(name, head=HEAD, optimizer=OPTIMIZER)
    state = agent.init(jax.random.key(0), observations(1))
    other = agent.init(jax.random.key(1), observations(1))
    state = state._replace(target_params=other.params)
    batch, weights = transitions(8), jnp.linspace(0.2, 1, 8)
    updated = jax.jit(agent.update)(state, jax.random.key(2), batch, weights)
    errors, loss, params = twin_update(
        numpy_twin.float64(state.params),
        numpy_twin.float64(other.params),
        jax.tree.map(np.asarray, batch),
        np.asarray(weights, np.float64),
    )
    assert float(updated.metrics["loss"]) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(updated.priorities, np.abs(errors), rtol=1e-4)
    numpy_twin.assert_close(updated.state.params, params)


def test_actions_share_one_output_bias():
    agent = small_agents.make("double_q", head=HEAD)
    shapes = jax.tree.map(lambda x: x.shape, agent.param_shapes())
    assert shapes["action_output"] == {"w": (8, 3), "b": (1,)}

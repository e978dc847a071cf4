"""Values by classification: targets by hand, and a whole update against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks.heads import value_bins
from tests.agents import numpy_twin, small_agents
from tests.agents.small_agents import observations, transitions

CENTERS = np.linspace(-2, 2, 5)
OPTIMIZER = {
    "kwargs": numpy_twin.ADAM,
    "learning_rate": numpy_twin.LEARNING_RATE,
    "max_gradient_norm": 0.5,
}


def test_two_hot_targets_by_hand():
    found = value_bins.two_hot(jnp.float32([0.25, -3.0, 1.0]), jnp.float32([-1, 0, 1]))
    np.testing.assert_allclose(found, [[0, 0.75, 0.25], [1, 0, 0], [0, 0, 1]], atol=1e-7)


def test_gaussian_targets_by_hand():
    """Bins of width 1 around -1, 0 and 1, sigma 0.75, y = 0.25: differences of Phi, normalized."""
    found = value_bins.hl_gauss(jnp.float32([0.25]), jnp.float32([-1, 0, 1]), 0.75)
    np.testing.assert_allclose(found, [[0.157938, 0.500749, 0.341313]], atol=1e-6)


def test_the_width_of_a_bin_is_the_unit_of_sigma():
    narrow = value_bins.hl_gauss(jnp.float32([0.025]), jnp.float32([-0.1, 0, 0.1]), 0.75)
    wide = value_bins.hl_gauss(jnp.float32([0.25]), jnp.float32([-1, 0, 1]), 0.75)
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)


def test_smoothing_mixes_in_the_uniform_distribution():
    found = value_bins.smoothed(jnp.float32([[1, 0, 0, 0]]), 0.2)
    np.testing.assert_allclose(found, [[0.85, 0.05, 0.05, 0.05]], rtol=1e-6)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def twin_update(params, target_params, batch, weights, double):
    """The loss and the parameters afterwards, with two-hot targets."""
    logits = lambda p, x: numpy_twin.head(p, numpy_twin.features(p, x))  # noqa: E731
    rows = np.arange(len(batch.a_tm1))
    q_target = softmax(logits(target_params, batch.s_t)) @ CENTERS
    chosen = softmax(logits(params, batch.s_t)) @ CENTERS if double else q_target
    goals = batch.r_t + batch.discount_t * q_target[rows, chosen.argmax(1)]
    goals = np.clip(goals, CENTERS[0], CENTERS[-1])
    near = np.clip(1 - np.abs(goals[:, None] - CENTERS), 0, 1)

    def loss(p):
        of_actions = softmax(logits(p, batch.s_tm1))[rows, batch.a_tm1]
        return np.mean(weights * -np.sum(near * np.log(of_actions), axis=1))

    grads = numpy_twin.clipped(numpy_twin.gradient(loss, params), 0.5)
    return loss(params), numpy_twin.adam(params, grads)


@pytest.mark.parametrize("double", [False, True])
def test_an_update_is_that_of_its_twin(double):
    agent = small_agents.make(
        "classification",
        target="two_hot",
        num_bins=5,
        v_max=2.0,
        double=double,
        head={"dueling": False, "noisy": False},
        optimizer=OPTIMIZER,
    )
    state = agent.init(jax.random.key(0), observations(1))
    other = agent.init(jax.random.key(1), observations(1))
    state = state._replace(target_params=other.params)
    batch, weights = transitions(8), jnp.linspace(0.2, 1, 8)
    updated = jax.jit(agent.update)(state, jax.random.key(2), batch, weights)
    loss, params = twin_update(
        numpy_twin.float64(state.params),
        numpy_twin.float64(other.params),
        jax.tree.map(np.asarray, batch),
        np.asarray(weights, np.float64),
        double,
    )
    assert float(updated.metrics["loss"]) == pytest.approx(loss, rel=1e-5)
    numpy_twin.assert_close(updated.state.params, params)

"""A whole update against NumPy; rewards are labels, and the most likely class is the action."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.agents import numpy_twin, small_agents
from tests.agents.small_agents import observations, transitions

OPTIMIZER = {
    "kwargs": numpy_twin.ADAM,
    "learning_rate": numpy_twin.LEARNING_RATE,
    "max_gradient_norm": 0.5,
}
HEAD = {"dueling": False, "noisy": False}


def _logits(params, x):
    return numpy_twin.head(params, numpy_twin.features(params, x))[..., 0]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_an_update_is_that_of_its_twin(smoothing):
    agent = small_agents.make(
        "classifier", label_smoothing=smoothing, head=HEAD, optimizer=OPTIMIZER
    )
    state = agent.init(jax.random.key(0), observations(1))
    labels = np.array([0, 2, 1, 1, 0, 2, 2, 1])
    batch = transitions(8)._replace(r_t=jnp.float32(labels))
    weights = np.linspace(0.2, 1, 8)
    updated = jax.jit(agent.update)(state, jax.random.key(2), batch, jnp.float32(weights))
    targets = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3

    def loss(params):
        logits = _logits(params, np.asarray(batch.s_tm1, np.float64))
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return np.mean(weights * -np.sum(targets * logs, axis=1))

    params = numpy_twin.float64(state.params)
    grads = numpy_twin.clipped(numpy_twin.gradient(loss, params), 0.5)
    assert float(updated.metrics["loss"]) == pytest.approx(loss(params), rel=1e-5)
    numpy_twin.assert_close(updated.state.params, numpy_twin.adam(params, grads))
    right = _logits(params, np.asarray(batch.s_tm1)).argmax(1) == labels
    assert float(updated.metrics["accuracy"]) == pytest.approx(right.mean())
    assert updated.priorities is None


def test_the_action_is_the_most_likely_class():
    agent = small_agents.make("classifier", head=HEAD)
    params = agent.init(jax.random.key(0), observations(1)).params
    x = observations(20)
    expected = _logits(numpy_twin.float64(params), np.asarray(x, np.float64)).argmax(1)
    assert len(set(expected)) > 1
    for mode in ("training", "evaluation"):
        found = agent.act(params, jax.random.key(1), x, jnp.int32(0), mode)
        np.testing.assert_array_equal(found, expected)

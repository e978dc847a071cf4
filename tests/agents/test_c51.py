"""C51: the target network's own choice, and a whole update against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.agents import numpy_twin, small_agents
from tests.agents.small_agents import observations, transitions

ATOMS = np.linspace(-2, 2, 5)
HEAD = {"dueling": False, "noisy": False}
OPTIMIZER = {
    "kwargs": numpy_twin.ADAM,
    "learning_rate": numpy_twin.LEARNING_RATE,
    "max_gradient_norm": 0.5,
}


def make(name="c51", **changes):
    changes = {"num_atoms": 5, "v_max": 2.0, "head": HEAD, "optimizer": OPTIMIZER, **changes}
    return small_agents.make(name, **changes)


def project(values, probabilities):
    """A distribution on any values, shared linearly among the two atoms beside each."""
    spacing = ATOMS[1] - ATOMS[0]
    near = 1 - np.abs(np.clip(values, ATOMS[0], ATOMS[-1])[:, None] - ATOMS) / spacing
    return probabilities @ np.clip(near, 0, 1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def twin_update(params, target_params, batch, weights, double):
    """The loss and the parameters afterwards."""
    logits = lambda p, x: numpy_twin.head(p, numpy_twin.features(p, x))  # noqa: E731
    rows = np.arange(len(batch.a_tm1))
    target = softmax(logits(target_params, batch.s_t))
    selector = softmax(logits(params, batch.s_t)) if double else target
    chosen = target[rows, (selector @ ATOMS).argmax(1)]
    goals = np.stack(
        [
            project(r + discount * ATOMS, p)
            for r, discount, p in zip(batch.r_t, batch.discount_t, chosen)
        ]
    )

    def loss(p):
        of_actions = softmax(logits(p, batch.s_tm1))[rows, batch.a_tm1]
        return np.mean(weights * -np.sum(goals * np.log(of_actions), axis=1))

    grads = numpy_twin.clipped(numpy_twin.gradient(loss, params), 0.5)
    return loss(params), numpy_twin.adam(params, grads)


@pytest.mark.parametrize(
    ("name", "double"), [("c51", False), ("c51", True), ("rainbow", False), ("rainbow", True)]
)
def test_an_update_is_that_of_its_twin(name, double):
    agent = make(name, double=double)
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


def test_who_chooses_the_action_matters_here():
    """Else the test above would not tell the two apart."""
    losses = []
    for double in (False, True):
        agent = make(double=double)
        state = agent.init(jax.random.key(0), observations(1))
        other = agent.init(jax.random.key(1), observations(1))
        state = state._replace(target_params=other.params)
        updated = agent.update(state, jax.random.key(2), transitions(8), jnp.ones(8))
        losses.append(float(updated.metrics["loss"]))
    assert losses[0] != losses[1]


def test_epsilon_is_the_share_of_uniform_actions_before_it_learns():
    agent = make()
    params, x = agent.init(jax.random.key(0), observations(1)).params, observations(1)
    x = jnp.tile(x, (600, 1))
    actions = agent.act(params, jax.random.key(3), x, jnp.int32(0), "training")
    assert np.bincount(np.asarray(actions), minlength=3).min() > 120

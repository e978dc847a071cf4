"""The probe: first losses by hand, a fresh network's ratio, and one that can't learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plasticity import trainability

_BUDGET = trainability.Budget(num_updates=150, batch_size=32, learning_rate=1e-2)


def _values(params, x):
    """Two layers [3, 16, 2]."""
    return jax.nn.relu(x @ params["a"] + params["b"][None]) @ params["c"]


def _params(seed):
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "a": jax.random.normal(keys[0], (3, 16)) / 3**0.5,
        "b": jnp.zeros(16),
        "c": jax.random.normal(keys[1], (16, 2)) / 4,
    }


_INPUTS = jax.random.normal(jax.random.key(9), (64, 3))


@jax.jit
def _ratio(params, fresh, rng):
    """Mean losses of two networks on the same task, one over the other."""
    fits = [
        trainability.fit(_values, p, _INPUTS, "regression", rng, _BUDGET) for p in (params, fresh)
    ]
    return fits[0].mean_loss / fits[1].mean_loss


@pytest.mark.parametrize(("task", "expected"), [("regression", 1.0), ("labels", np.log(2))])
def test_the_first_loss_is_that_of_any_network(task, expected):
    """With one update, before which the loss is measured; of noise within its sampling error."""
    budget = trainability.Budget(num_updates=1, batch_size=4_096)
    for seed in (0, 1):
        params = jax.tree.map(lambda p: 5 * p, _params(seed))
        found = trainability.fit(_values, params, _INPUTS, task, jax.random.key(3), budget)
        assert float(found.mean_loss) == pytest.approx(expected, rel=0.25)


def test_learning_lowers_the_loss():
    for task in trainability.TASKS:
        found = trainability.fit(_values, _params(0), _INPUTS, task, jax.random.key(1), _BUDGET)
        assert float(found.final_loss) < float(found.mean_loss)


def test_fresh_networks_have_a_ratio_of_one():
    ratios = [_ratio(_params(i), _params(50 + i), jax.random.key(i)) for i in range(10)]
    error = np.std(ratios, ddof=1) / 10**0.5
    assert abs(np.mean(ratios) - 1) < 3 * error
    assert error < 0.05


def test_a_network_whose_hidden_units_are_dead_learns_worse():
    for seed in range(3):
        dead = {**_params(seed), "b": jnp.full(16, -1e6)}
        assert float(_ratio(dead, _params(50 + seed), jax.random.key(seed))) > 1.1


def test_what_does_not_learn_is_not_fitted():
    """With no parameter that learns, the loss stays where all networks begin: at 1."""
    nothing = lambda grads, params: jax.tree.map(jnp.zeros_like, grads)  # noqa: E731
    found = trainability.fit(
        _values, _params(0), _INPUTS, "regression", jax.random.key(1), _BUDGET, nothing
    )
    assert float(found.final_loss) == pytest.approx(1, abs=0.2)

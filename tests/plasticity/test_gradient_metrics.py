"""Quantities of gradients, updates and moments against values computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plasticity import adam_ages, layers
from plasticity.metrics import gradient_metrics


def _params():
    return {
        "hidden": {"w": jnp.array([[1.0, -3.0]]), "b": jnp.array([5.0, 5.0])},
        "norm": {"scale": jnp.ones(2), "offset": jnp.zeros(2)},
        "output": {"w": jnp.array([[3.0], [0.0]])},
    }


def _layers():
    return layers.find_layers(_params(), layers.by_name)


def test_gradient_l1_and_nonzero_by_hand():
    """(0, 3, -4): 1-norm 7, two of three not 0."""
    grads = {"hidden": {"w": jnp.array([[0.0, 3.0, -4.0]])}}
    found = layers.find_layers(grads, layers.by_name)
    measured = gradient_metrics.of_gradients(grads, found)
    assert float(measured["gradient_l1"]["hidden"]) == 7
    assert float(measured["gradient_nonzero"]["hidden"]) == pytest.approx(2 / 3)


def test_mean_abs_weight_is_without_biases_and_norms():
    assert {
        name: float(x)
        for name, x in gradient_metrics.mean_abs_weights(_params(), _layers()).items()
    } == {"hidden": 2.0, "output": 1.5}


def _relu_loss(params, x):
    """Three ReLU units, of which the second is off for x > 0."""
    return jnp.sum(jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"][None]))


_THREE = {"hidden": {"w": jnp.array([[1.0, -1.0, 2.0]]), "b": jnp.zeros(3)}}


def test_a_unit_that_is_off_is_not_updated_but_by_a_regularizer():
    x = jnp.array([[1.0], [2.0]])
    found = layers.find_layers(_THREE, layers.by_name)
    td = jax.grad(_relu_loss)(_THREE, x)
    share = gradient_metrics.updated_units(td, found)["hidden"]
    assert float(share) == pytest.approx(2 / 3)
    full = jax.tree.map(lambda g, w: g + 2e-5 * w, td, _THREE)
    assert float(gradient_metrics.updated_units(full, found)["hidden"]) == 1


def test_units_of_a_convolution_are_its_channels():
    grads = {"conv": {"w": jnp.zeros((2, 2, 1, 4)).at[0, 1, 0, 2].set(1.0)}}
    found = layers.find_layers(grads, layers.by_name)
    assert float(gradient_metrics.updated_units(grads, found)["conv"]) == 0.25


def test_an_update_along_the_weights_has_no_tangential_part():
    along = jax.tree.map(lambda w: 0.1 * w, _params())
    ratios = gradient_metrics.tangential_ratios(along, _params(), _layers())
    np.testing.assert_allclose(list(ratios.values()), 0, atol=1e-7)
    across = jax.tree.map(jnp.zeros_like, _params())
    across["output"]["w"] = jnp.array([[1.0], [0.6]])
    ratios = gradient_metrics.tangential_ratios(across, _params(), _layers())
    assert float(ratios["output"]) == pytest.approx(0.2)


def _adam_state(make):
    """After one update with the gradient 2 of the first of two elements."""
    params = {"hidden": {"w": jnp.zeros((1, 2))}}
    grads = {"hidden": {"w": jnp.array([[2.0, 0.0]])}}
    optimizer = make(0.9, 0.999, 1e-8)
    _, state = optimizer.update(grads, optimizer.init(params), params)
    return grads, state, layers.find_layers(params, layers.by_name)


@pytest.mark.parametrize("make", [optax.scale_by_adam, adam_ages.scale_by_adam_ages])
def test_adams_health_by_hand(make):
    grads, state, found = _adam_state(make)
    measured = gradient_metrics.of_adam(grads, state, found, b2=0.999, eps=1e-8)
    numbers = {name: float(x["hidden"]) for name, x in measured.items()}
    assert numbers == pytest.approx({"adam_stuck": 0.5, "adam_cosine": 1.0, "adam_age": 1.0})
    # The corrected second moment of the first element is 4.
    measured = gradient_metrics.of_adam(grads, state, found, b2=0.999, eps=2.1)
    assert float(measured["adam_stuck"]["hidden"]) == 1


def test_other_optimizers_have_no_moments_of_adam():
    assert gradient_metrics.of_adam(_params(), optax.EmptyState(), _layers(), 0.9, 1e-8) == {}

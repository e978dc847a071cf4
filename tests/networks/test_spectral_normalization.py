"""Spectral normalization of layers: values by hand, gradients, and which layers it is."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import checks
from networks import spectral_normalization, value_network
from networks.heads import action_values
from networks.torsos import mlp

_LINEAR = "torso/linear_0"


def _network(pattern, noisy=False, **changes):
    """(init, apply) of a small network with these keys of its section, and an input."""
    section = value_network.Settings(
        torso=mlp.Settings(hidden_sizes=(5,)),
        head=action_values.Settings(hidden_size=4, dueling=False, noisy=noisy),
        spectral_norm=spectral_normalization.Settings(layers=pattern, **changes),
    )
    made = value_network.make(section, num_actions=3, size=1)
    x = np.random.RandomState(0).normal(size=(2, 6)).astype(np.float32)
    return made, made.init(jax.random.key(1), x, False), x


def _apply(made, params, x):
    return made.apply(params, jax.random.key(2), x, False)


def _with_weights(params, module, change):
    leaves = {name: change(w) if name.endswith("w") else w for name, w in params[module].items()}
    return {**params, module: leaves}


@pytest.mark.parametrize(("limit", "always"), [(1.0, True), (0.5, True), (1.0, False)])
def test_of_diag_3_1(limit, always):
    chosen = spectral_normalization.Settings(layers=".", limit=limit, always=always, iterations=30)
    w = jnp.diag(jnp.array([3.0, 1.0]))
    np.testing.assert_allclose(chosen.normalize(w), w * limit / 3, rtol=1e-6)
    small = chosen.normalize(w / 10)
    np.testing.assert_allclose(small, w * limit / 3 if always else w / 10, rtol=1e-6)
    zeros = jnp.zeros((2, 2))
    np.testing.assert_array_equal(chosen.normalize(zeros), zeros)
    assert jnp.isfinite(jax.grad(lambda w: jnp.sum(chosen.normalize(w)))(zeros)).all()


def test_kernels_are_matrices_of_inputs_and_units():
    w = np.random.RandomState(1).normal(size=(3, 3, 2, 4)).astype(np.float32)
    found = spectral_normalization.Settings(layers=".", iterations=200).normalize(w)
    expected = w / np.linalg.svd(w.reshape(-1, 4), compute_uv=False)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_gradient_is_that_of_the_quotient():
    chosen = spectral_normalization.Settings(layers=".", iterations=300)
    w = np.random.RandomState(2).normal(size=(4, 3)).astype(np.float32)
    pull = np.random.RandomState(3).normal(size=(4, 3)).astype(np.float32)
    found = jax.grad(lambda w: jnp.sum(pull * chosen.normalize(w)))(w)
    u, sigma, v = np.linalg.svd(w)
    of_sigma = np.outer(u[:, 0], v[0])
    expected = pull / sigma[0] - np.sum(pull * w) / sigma[0] ** 2 * of_sigma
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("noisy", [False, True])
def test_chosen_layers_compute_with_normalized_weights_and_no_others(noisy):
    made, params, x = _network(_LINEAR, noisy)
    plain, same, _ = _network("", noisy)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    normalize = spectral_normalization.Settings(layers=".").normalize
    by_hand = _with_weights(params, _LINEAR, normalize)
    np.testing.assert_allclose(_apply(made, params, x), _apply(plain, by_hand, x), rtol=1e-6)
    # A scale-invariant layer; the others are not.
    for module, is_invariant in ((_LINEAR, True), ("action_hidden", False)):
        scaled = _with_weights(params, module, lambda w: 4 * w)
        is_same = np.allclose(_apply(made, params, x), _apply(made, scaled, x), rtol=1e-5)
        assert is_same == is_invariant


def test_a_noisy_layer_s_sigma_is_left_alone():
    made, params, x = _network("action_hidden", noisy=True)
    hidden = params["action_hidden"]
    scaled = {**params, "action_hidden": {**hidden, "mu_w": 4 * hidden["mu_w"]}}
    np.testing.assert_allclose(_apply(made, params, x), _apply(made, scaled, x), rtol=1e-4)
    scaled["action_hidden"] = {**hidden, "sigma_w": 4 * hidden["sigma_w"]}
    assert not np.allclose(_apply(made, params, x), _apply(made, scaled, x), rtol=1e-2)


def test_without_a_pattern_nothing_is_added_to_the_program():
    made, params, x = _network("")
    section = value_network.Settings(
        torso=mlp.Settings(hidden_sizes=(5,)),
        head=action_values.Settings(hidden_size=4, dueling=False, noisy=False),
    )
    default = value_network.make(section, num_actions=3, size=1)
    programs = [
        str(jax.make_jaxpr(lambda p, m=m: _apply(m, p, x))(params)) for m in (made, default)
    ]
    assert programs[0] == programs[1]
    assert dataclasses.asdict(section.spectral_norm)["layers"] == ""


def test_a_pattern_that_fits_no_layer_is_refused():
    expected = r"spectral_norm.layers = 'conv': expected a pattern .* torso/linear_0, action_hidden"
    with pytest.raises(checks.ConfigError, match=expected):
        _network("conv")


def test_it_works_where_plasticity_is_injected():
    """The copies' layers have the names of the layers with the injection's in front."""
    section = value_network.Settings(
        torso=mlp.Settings(hidden_sizes=(5,)),
        head=action_values.Settings(hidden_size=4, dueling=False, noisy=False),
        spectral_norm=spectral_normalization.Settings(layers="action_hidden"),
        injection=value_network.injecting.Settings(times=1),
    )
    made = value_network.make(section, num_actions=3, size=1)
    x = np.ones((2, 6), np.float32)
    params = made.init(jax.random.key(1), x, False)
    assert sum("action_hidden" in module for module in params) == 3
    assert hk.data_structures.tree_size(params)
    assert jnp.isfinite(_apply(made, params, x)).all()

"""Normalization before a nonlinearity: what it computes, and what it makes invariant."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import checks
from networks import convolution, declared, linear, normalization
from tests.core import sections


def normalize(norm, x, params=None):
    """The norm's output with the given, or its initial, parameters; and the parameters."""
    network = hk.without_apply_rng(hk.transform(lambda x: norm(x, "norm")[0]))
    params = params or network.init(jax.random.key(0), x)
    return np.asarray(network.apply(params, x)), params


def images(seed=0):
    return np.random.RandomState(seed).normal(3.0, 2.0, (2, 3, 4, 5)).astype(np.float32)


def expected_norm(x, kind, axes, epsilon=1e-5):
    mean = x.mean(axes, keepdims=True) if kind == "layer" else 0.0
    return (x - mean) / np.sqrt(np.square(x - mean).mean(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize(("axes", "numpy_axes"), [("all", (1, 2, 3)), ("channels", (3,))])
def test_statistics_run_over_the_axes_asked_for(kind, axes, numpy_axes):
    """Scale 1 and offset 0 at first: the normalized input itself."""
    norm = normalization.Normalization(kind=kind, axes=axes)
    found, params = normalize(norm, images())
    np.testing.assert_allclose(found, expected_norm(images(), kind, numpy_axes), atol=2e-6)
    shapes = {name: x.shape for name, x in params["norm"].items()}
    offset = {"offset": (5,)} if kind == "layer" else {}
    assert shapes == {"scale": (5,)} | offset


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_scale_and_offset_are_per_channel(kind):
    scale, offset = np.float32([1, 2, 3, 4, 5]), np.float32([0.5, 0, -0.5, 1, 2])
    params = {"norm": {"scale": scale} | ({"offset": offset} if kind == "layer" else {})}
    found, _ = normalize(normalization.Normalization(kind=kind), images(), params)
    expected = expected_norm(images(), kind, (1, 2, 3)) * scale
    expected += offset if kind == "layer" else 0
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_without_affine_there_are_no_parameters(kind):
    norm = normalization.Normalization(kind=kind, affine=False)
    found, params = normalize(norm, images())
    assert params == {}
    np.testing.assert_allclose(found, expected_norm(images(), kind, (1, 2, 3)), atol=2e-6)


def test_epsilon_is_under_the_root():
    """By hand: mean 2, variance 1; with epsilon 3 the deviations are halved."""
    norm = normalization.Normalization(kind="layer", epsilon=3.0, affine=False)
    np.testing.assert_allclose(normalize(norm, np.float32([[1, 3]]))[0], [[-0.5, 0.5]], rtol=1e-6)


def test_none_changes_nothing():
    found, params = normalize(normalization.Normalization(), images())
    assert params == {}
    np.testing.assert_array_equal(found, images())


@pytest.mark.parametrize(
    ("kind", "keep_bias", "has_bias"),
    [("none", False, True), ("layer", False, False), ("rms", False, False), ("layer", True, True)],
)
def test_layers_before_a_norm_drop_their_biases(kind, keep_bias, has_bias):
    norm = normalization.Normalization(kind=kind, keep_bias=keep_bias)
    assert norm.layer_has_bias == has_bias


@pytest.mark.parametrize(
    ("kind", "affine", "role", "expected"),
    [
        ("layer", True, "norm", [("norm", "norm", ("scale",), ("offset",), ())]),
        ("rms", True, "free_norm", [("norm", "free_norm", ("scale",), (), ())]),
        ("layer", False, "norm", []),
        ("none", True, "norm", []),
    ],
)
def test_a_norm_declares_its_parameters(kind, affine, role, expected):
    norm = normalization.Normalization(kind=kind, affine=affine)
    network = hk.transform(lambda x: norm(x, "norm", role)[0])
    with declared.recording() as found:
        jax.eval_shape(network.init, jax.random.key(0), images())
    assert [tuple(layer) for layer in found.layers] == expected


def convolution_block(norm, x):
    y = convolution.ValidConv2D(6, 3, 1, norm.layer_has_bias, "matmul", "layer")(x)
    return norm(y, "norm")[0]


def linear_block(norm, x):
    x = x.reshape(x.shape[0], -1)
    return norm(linear.linear(6, x.shape[-1], norm.layer_has_bias, "layer")(x), "norm")[0]


def noisy_block(norm, x):
    x, has_bias = x.reshape(x.shape[0], -1), norm.layer_has_bias
    return norm(linear.NoisyLinear(6, 0.5, has_bias, has_bias, False, "layer")(x), "norm")[0]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("block", [convolution_block, linear_block, noisy_block])
@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("keep_bias", [False, True])
def test_a_normalized_layer_does_not_depend_on_its_scale(block, kind, keep_bias):
    """All of the layer's own parameters times 3.7, to twelve digits; epsilon breaks it otherwise.

    Of a noisy layer mu and sigma together; of one with biases the biases too.
    """
    norm = normalization.Normalization(kind=kind, epsilon=1e-30, keep_bias=keep_bias)
    x = jnp.asarray(images(), jnp.float64)
    network = hk.transform(lambda x: block(norm, x))
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    random = np.random.RandomState(1)
    params = jax.tree.map(lambda p: jnp.asarray(random.normal(size=p.shape)), shapes)
    apply = network.apply
    assert any("b" in name.split("_") for name in params["layer"]) == keep_bias
    scaled = {**params, "layer": jax.tree.map(lambda p: 3.7 * p, params["layer"])}
    before, after = (apply(p, jax.random.key(1), x) for p in (params, scaled))
    np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)
    # Of one part alone it does: of sigma without mu, or of a weight without its bias.
    part = sorted(params["layer"])[0]
    partly = {**params, "layer": {**params["layer"], part: 3.7 * params["layer"][part]}}
    is_invariant = np.allclose(apply(partly, jax.random.key(1), x), before, atol=1e-3)
    assert is_invariant == (len(params["layer"]) == 1)


@pytest.mark.parametrize(
    "change", [{"kind": "batch"}, {"axes": "height"}, {"epsilon": 0.0}, {"affine": 1}]
)
def test_bad_settings_are_refused(change):
    with pytest.raises(checks.ConfigError, match=rf"^network\.norm\.{next(iter(change))} = "):
        sections.parse(normalization.Normalization, "network.norm", **change)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("axes", ["all", "channels"])
def test_constant_statistics_give_the_same_numbers(kind, axes):
    scale, offset = np.float32([1, 2, 3, 4, 5]), np.float32([0.5, 0, -0.5, 1, 2])
    params = {"norm": {"scale": scale} | ({"offset": offset} if kind == "layer" else {})}
    learned = normalization.Normalization(kind=kind, axes=axes)
    constant = dataclasses.replace(learned, statistics="constant")
    expected, _ = normalize(learned, images(), params)
    np.testing.assert_allclose(normalize(constant, images(), params)[0], expected, atol=1e-6)
    shapes = [jax.tree.map(jnp.shape, normalize(x, images())[1]) for x in (learned, constant)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("kind", "statistics", "expected"),
    [
        ("layer", "learned", (-0.044721, 0.134164, -0.134164, 0.044721)),
        ("rms", "learned", (0.178885, 0.357771, 0.089443, 0.268328)),
        ("layer", "constant", (0.447214, 0.447214, 0.0, 0.0)),
        ("rms", "constant", (0.447214, 0.447214, 0.0, 0.0)),
    ],
)
def test_units_that_are_off_get_a_gradient_through_the_statistics_alone(kind, statistics, expected):
    """Of pre-activations (3, 1, -1, -3) the last two are off behind a ReLU."""
    norm = normalization.Normalization(
        kind=kind, axes="channels", epsilon=1e-12, affine=False, statistics=statistics
    )
    network = hk.without_apply_rng(hk.transform(lambda x: norm(x, "norm")[0]))
    x = jnp.array([[3.0, 1.0, -1.0, -3.0]])
    found = jax.grad(lambda x: jnp.sum(jax.nn.relu(network.apply({}, x))))(x)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)

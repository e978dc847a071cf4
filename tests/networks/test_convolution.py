"""Convolutions as matrix products against XLA's operator, values and gradients."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import convolution


def normal(seed, *shape):
    return np.random.RandomState(seed).normal(size=shape)


def assert_same_function(first, second, *arguments):
    """Equal values, and equal gradients with respect to every argument, in float64."""

    def value_and_pullback(function):
        value, pullback = jax.vjp(function, *arguments)
        return value, pullback(jnp.asarray(normal(9, *value.shape)))

    found, expected = jax.jit(lambda: [value_and_pullback(f) for f in (first, second)])()
    assert found[0].dtype == np.float64
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)  # noqa: E731
    jax.tree.map(close, found, expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("size", "stride", "height", "width"),
    [(8, 4, 20, 24), (4, 2, 9, 9), (3, 1, 7, 5), (5, 5, 16, 12), (2, 1, 3, 4), (6, 2, 11, 8)],
)
def test_matrix_products_equal_the_operator(size, stride, height, width):
    """Also where no window covers the last rows and columns."""
    x, w = normal(0, 2, height, width, 3), normal(1, size, size, 3, 4)
    assert_same_function(
        lambda x, w: convolution.matmul_convolution(x, w, stride),
        lambda x, w: convolution.lax_convolution(x, w, stride),
        jnp.asarray(x),
        jnp.asarray(w),
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("size", "stride", "height", "width", "stack"),
    [(8, 4, 20, 24, 4), (8, 4, 22, 21, 3), (5, 5, 16, 12, 4), (4, 2, 9, 8, 1)],
)
def test_matrix_products_of_frames_equal_the_operator(size, stride, height, width, stack):
    """Stacks of pixels, channels first, as the replay gives them."""
    frames = np.random.RandomState(2).randint(0, 256, (2, stack, height, width)).astype(np.uint8)
    images = np.moveaxis(frames, 1, -1).astype(np.float64)
    assert_same_function(
        lambda w: convolution.matmul_frame_convolution(jnp.asarray(frames), w, stride),
        lambda w: convolution.lax_convolution(jnp.asarray(images), w, stride),
        jnp.asarray(normal(3, size, size, stack, 4)),
    )


def test_a_stride_that_does_not_divide_the_kernel_is_refused():
    x, frames = jnp.zeros((1, 8, 8, 2)), jnp.zeros((1, 2, 8, 8), jnp.uint8)
    w = jnp.zeros((4, 4, 2, 3))
    with pytest.raises(ValueError, match="stride 3 must divide the kernel size 4"):
        convolution.matmul_convolution(x, w, 3)
    with pytest.raises(ValueError, match="stride 3 must divide the kernel size 4"):
        convolution.matmul_frame_convolution(frames, w, 3)


def make_layer(formulation, with_bias=True, size=8, stride=4, channels=5):
    def forward(x):
        layer = convolution.ValidConv2D(channels, size, stride, with_bias, formulation, "conv")
        return layer(x)

    return hk.without_apply_rng(hk.transform(forward))


@pytest.mark.parametrize(("size", "stride"), [(8, 4), (4, 2)])
def test_the_layer_computes_the_same_in_both_formulations(size, stride):
    """Frames count as pixels from 0 to 1; a constant bias is added; float32."""
    frames = np.random.RandomState(4).randint(0, 256, (3, 4, 20, 20)).astype(np.uint8)
    images = np.moveaxis(frames, 1, -1).astype(np.float32) / 255
    matmul, lax = (make_layer(f, size=size, stride=stride) for f in ("matmul", "lax"))
    w, b = normal(5, size, size, 4, 5) / 10, normal(6, 5)
    params = {"conv": {"w": w.astype(np.float32), "b": b.astype(np.float32)}}
    expected = np.asarray(lax.apply(params, images))
    assert expected.std() > 0.5
    for layer, x in ((matmul, frames), (matmul, images), (lax, frames)):
        np.testing.assert_allclose(layer.apply(params, x), expected, atol=1e-5)
    shifted = {"conv": {**params["conv"], "b": params["conv"]["b"] + 2.0}}
    np.testing.assert_allclose(matmul.apply(shifted, frames), expected + 2.0, atol=1e-5)


def test_weights_and_biases_start_uniform_in_one_over_the_root_of_the_fan_in():
    """Both ranges are those of the fan-in 8 * 8 * 4, and are filled."""
    layer = make_layer("matmul", channels=64)
    params = jax.jit(layer.init)(jax.random.key(1), jnp.zeros((1, 4, 8, 8), jnp.uint8))["conv"]
    assert params["w"].shape == (8, 8, 4, 64)
    assert params["b"].shape == (64,)
    for x in params.values():
        assert 0.9 / 16 < np.max(x) <= 1 / 16
        assert -1 / 16 <= np.min(x) < -0.9 / 16
    # A uniform distribution's standard deviation is its range / sqrt(12).
    assert np.std(params["w"]) == pytest.approx(2 / 16 / 12**0.5, rel=0.02)


def test_without_bias_there_is_no_such_parameter():
    layer = make_layer("matmul", with_bias=False)
    frames = jnp.zeros((1, 4, 8, 8), jnp.uint8)
    params = jax.eval_shape(layer.init, jax.random.key(2), frames)
    assert list(params["conv"]) == ["w"]

"""LayerNorm for few kernels beside Haiku's."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import few_kernel_norm

SCALE, OFFSET = np.float32([1, -2, 3, 0.5]), np.float32([0.5, 0, -1, 2])


def images():
    return np.random.RandomState(0).normal(1.0, 2.0, (3, 5, 6, 4)).astype(np.float32)


@pytest.mark.parametrize("axis", [slice(1, None), -1])
def test_values_and_gradients_are_those_of_haiku_s(axis):
    modules = [
        lambda x: hk.LayerNorm(axis, True, True, eps=1e-5, param_axis=-1, name="norm")(x),
        lambda x: few_kernel_norm.LayerNorm(axis, 1e-5, "norm")(x),
    ]
    params = {"norm": {"scale": SCALE, "offset": OFFSET}}
    found = []
    for module in modules:
        network = hk.without_apply_rng(hk.transform(module))
        apply = lambda params, x, network=network: network.apply(params, x)  # noqa: E731
        scalar = lambda p, x, apply=apply: jnp.sum(jnp.sin(apply(p, x)))  # noqa: E731
        shapes = jax.tree.map(jnp.shape, network.init(jax.random.key(0), images()))
        found.append((apply(params, images()), jax.grad(scalar, (0, 1))(params, images())))
        assert shapes == jax.tree.map(jnp.shape, params)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # noqa: E731
    jax.tree.map(close, *found)


def test_norms_side_by_side_have_scales_of_their_own():
    """Each of two is LayerNorm over its own numbers, and so are the gradients."""
    x = images()[:, 0, :2]
    scales, offsets = np.stack([SCALE, SCALE[::-1]]), np.stack([OFFSET, 2 * OFFSET])

    def together(x, scales, offsets):
        return few_kernel_norm.layer_norm(x, scales[None], offsets[None], (2,), 1e-5)

    def apart(x, scales, offsets):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(variance + 1e-5) * scales[None] + offsets[None]

    results = []
    for function in (together, apart):
        scalar = lambda *a, f=function: jnp.sum(jnp.sin(f(*a)))  # noqa: E731
        grads = jax.grad(scalar, (0, 1, 2))(x, scales, offsets)
        results.append((function(x, scales, offsets), grads))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, *results)

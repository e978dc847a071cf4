"""Noisy layers of several streams as one product beside the layers themselves."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import linear, noise
from networks.heads import noisy_streams

_SIZES = [noise.Sizes(6, 4)] * 2


def _layers():
    return [linear.NoisyLinear(4, 0.5, True, True, False, name) for name in ("a", "b")]


def _network(is_product):
    def forward(x):
        layers = _layers()
        if is_product:
            return noisy_streams.product(x, [layer.parts(x.shape[1]) for layer in layers])
        return jnp.stack([layer(x) for layer in layers], axis=1)

    return hk.transform(forward)


@pytest.fixture(scope="module")
def params():
    """Of two networks: sigmas are random, too."""
    init = _network(False).init
    drawn = [init(jax.random.key(i), jnp.zeros((1, 6))) for i in range(2)]
    keys = iter(jax.random.split(jax.random.key(2), 20))
    return [jax.tree.map(lambda x: x + jax.random.normal(next(keys), x.shape), p) for p in drawn]


def _close(found, expected):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5), found, expected
    )


def test_it_is_each_layer_s_output_with_its_gradients(params):
    x = jax.random.normal(jax.random.key(3), (5, 6))

    def loss(is_product, params, x):
        y = _network(is_product).apply(params, jax.random.key(4), x)
        return jnp.sum(y * jnp.arange(y.size).reshape(y.shape)), y

    found, expected = (
        jax.value_and_grad(lambda *a, i=i: loss(i, *a), argnums=(0, 1), has_aux=True)(params[0], x)
        for i in (True, False)
    )
    assert found[0][1].shape == (5, 2, 4)
    _close(found, expected)


@pytest.mark.parametrize("groups", [(2, 1), (1, 1, 1), ()])
def test_passes_that_share_parameters_have_their_own_noise_and_inputs(params, groups):
    """Mapped over three passes, of which the third has other parameters."""
    of_passes = [params[0], params[0], params[1]]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *of_passes)
    x = jax.random.normal(jax.random.key(3), (3, 5, 6))
    rngs = jax.random.split(jax.random.key(4), 3)
    drawn = noise.draw_ahead(rngs, _SIZES, linear.factorised_noise)

    def apply(params, drawn, x):
        with noise.supplied(drawn, groups):
            return _network(True).apply(params, None, x)

    found = jax.vmap(apply)(stacked, drawn, x)
    expected = [_network(False).apply(p, rng, x) for p, rng, x in zip(of_passes, rngs, x)]
    _close(found, jnp.stack(expected))

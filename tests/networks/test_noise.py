"""Noise that is drawn ahead, for several passes at once."""

import haiku as hk
import jax
import numpy as np
import pytest

from networks import linear, noise

SIZES = [noise.Sizes(5, 3), noise.Sizes(3, 7), noise.Sizes(3, 2)]


@pytest.fixture(scope="module")
def network():
    def forward(x):
        for i, sizes in enumerate(SIZES[:2]):
            x = linear.NoisyLinear(sizes.outputs, 0.5, True, True, False, f"layer_{i}")(x)
        return x

    return hk.transform(forward)


def test_it_is_what_the_passes_would_draw(network, monkeypatch):
    """The vectors of two passes, as they ask for them in turn; a compiler rounds otherwise."""
    drawn = []
    original = linear.factorised_noise

    def record(rng, shape):
        drawn.append(np.asarray(original(rng, shape)))
        return drawn[-1]

    x = np.ones((4, 5), np.float32)
    params = network.init(jax.random.key(0), x)
    rngs = jax.random.split(jax.random.key(1), 2)
    ahead = jax.jit(lambda rngs: noise.draw_ahead(rngs, SIZES[:2], original))(rngs)
    monkeypatch.setattr(linear, "factorised_noise", record)
    for rng in rngs:
        network.apply(params, rng, x)
    found = [vector[p] for p in range(2) for layer in ahead for vector in layer]
    assert len(found) == len(drawn) == 8
    for vector, expected in zip(found, drawn):
        np.testing.assert_allclose(vector, expected, rtol=1e-5)


def test_drawn_in_turn_it_is_the_same():
    rngs = jax.random.split(jax.random.key(1), 2)
    ahead = noise.draw_ahead(rngs, SIZES, linear.factorised_noise)
    in_turn = noise.draw_in_turn(rngs, SIZES, linear.factorised_noise)
    assert len(in_turn) == len(rngs)
    for layer, expected in enumerate(ahead):
        found = jax.tree.map(lambda *x: np.stack(x), *[of_pass[layer] for of_pass in in_turn])
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_layers_take_what_is_supplied_in_their_order(network):
    x = np.ones((4, 5), np.float32)
    params = network.init(jax.random.key(0), x)
    rng = jax.random.key(2)
    with noise.recording() as sizes:
        expected = network.apply(params, rng, x)
    assert sizes == SIZES[:2]
    ahead = noise.draw_ahead(rng[None], sizes, linear.factorised_noise)
    with noise.supplied([noise.Noise(*(x[0] for x in layer)) for layer in ahead]):
        found = network.apply(params, jax.random.key(3), x)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.allclose(network.apply(params, jax.random.key(3), x), expected)

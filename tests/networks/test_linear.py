"""Noisy linear layers: their formulas by hand, their noise, and how they start."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from networks import linear

X = np.float32([[1, 2], [3, -1]])
PARAMS = {
    "noisy": {
        "mu_w": np.float32([[1, 0, 2], [0, 1, -1]]),
        "sigma_w": np.float32([[0.5, 1, 0], [2, 0, 1]]),
        "mu_b": np.float32([10, 20, 30]),
        "sigma_b": np.float32([1, 2, 3]),
    }
}


def make_layer(size=3, sigma_init=0.1, mu_bias=True, sigma_bias=True, per_sample=False):
    def forward(x):
        layer = linear.NoisyLinear(size, sigma_init, mu_bias, sigma_bias, per_sample, "noisy")
        return layer(x)

    return hk.transform(forward)


@pytest.fixture
def prescribe_noise(monkeypatch):
    """Sets the draws: first those of the inputs, then those of the outputs."""

    def prescribe(*draws):
        remaining = list(draws)

        def draw(rng, shape):
            del rng
            noise = jnp.asarray(remaining.pop(0), jnp.float32)
            assert noise.shape == shape
            return noise

        monkeypatch.setattr(linear, "factorised_noise", draw)

    return prescribe


def test_one_draw_for_the_batch_by_hand(prescribe_noise):
    """With e_in = (2, -1) and e_out = (1, -1, 3).

    The noisy weights are mu + sigma * e_in e_out^T = [[2, -2, 2], [-2, 1, -4]], the biases
    (11, 18, 39).
    """
    prescribe_noise([[2, -1]], [[1, -1, 3]])
    y = make_layer().apply(PARAMS, jax.random.key(0), X)
    np.testing.assert_allclose(y, [[9, 18, 33], [19, 11, 49]], rtol=1e-6)


def test_a_draw_per_row_by_hand(prescribe_noise):
    """The first row as above; the second with e_in = (1, 1) and e_out = (2, 0, 1).

    Its noisy weights are [[2, 0, 2], [4, 1, 0]], its biases (12, 20, 33).
    """
    prescribe_noise([[2, -1], [1, 1]], [[1, -1, 3], [2, 0, 1]])
    y = make_layer(per_sample=True).apply(PARAMS, jax.random.key(0), X)
    np.testing.assert_allclose(y, [[9, 18, 33], [14, 19, 39]], rtol=1e-6)


def test_each_row_has_its_own_draw_or_all_have_the_same():
    """Equal rows come out equal only where the noise is shared."""
    x = np.tile(X[:1], (4, 1))
    shared = jax.jit(make_layer().apply)(PARAMS, jax.random.key(1), x)
    per_row = jax.jit(make_layer(per_sample=True).apply)(PARAMS, jax.random.key(1), x)
    assert np.ptp(shared, axis=0).max() == 0
    assert len(np.unique(np.asarray(per_row)[:, 0])) == 4


def test_noise_is_drawn_anew_in_each_layer_and_for_each_rng():
    def forward(x):
        layers = [linear.NoisyLinear(3, 1.0, True, True, False, f"noisy_{i}") for i in range(2)]
        return [layer(x) for layer in layers]

    params = {f"noisy_{i}": PARAMS["noisy"] for i in range(2)}
    apply = jax.jit(hk.transform(forward).apply)
    first, second = apply(params, jax.random.key(0), X)
    other, _ = apply(params, jax.random.key(1), X)
    assert not np.allclose(first, second)
    assert not np.allclose(first, other)


def test_noise_has_the_moments_of_the_root_of_a_truncated_normal():
    """f(e)^2 = |e|, whose mean is 2 (phi(0) - phi(2)) / (2 Phi(2) - 1) = 0.72279; |e| <= 2."""
    noise = np.asarray(linear.factorised_noise(jax.random.key(2), (200_000,)))
    assert np.abs(noise).max() <= 2**0.5
    assert np.abs(noise).max() > 1.41
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert np.square(noise).mean() == pytest.approx(0.72279, abs=0.005)


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_mean_over_the_noise_is_the_layer_of_mu(per_sample):
    """Over 20 000 draws within five standard errors, and the spread is sigma's.

    The variance is sum_i (x_i sigma_ij)^2 m^2 + sigma_b_j^2 m with m = 0.72279, the mean of
    f(e)^2.
    """
    layer = make_layer(per_sample=per_sample)
    rngs = jax.random.split(jax.random.key(3), 20_000)
    y = np.asarray(jax.jit(jax.vmap(lambda rng: layer.apply(PARAMS, rng, X)))(rngs), np.float64)
    weights = PARAMS["noisy"]
    m = 0.72279
    variance = (X**2) @ (weights["sigma_w"] ** 2) * m**2 + weights["sigma_b"] ** 2 * m
    error = y.mean(0) - (X @ weights["mu_w"] + weights["mu_b"])
    assert (np.abs(error) < 5 * np.sqrt(variance / 20_000)).all()
    np.testing.assert_allclose(y.var(0), variance, rtol=0.06)


def test_sigma_starts_at_a_tenth_of_the_root_of_the_fan_in_and_mu_uniform():
    """DQN Zoo's: weights and biases alike; 0.1 / sqrt(64) and within ±1 / sqrt(64)."""
    params = jax.jit(make_layer(size=200).init)(jax.random.key(4), np.zeros((1, 64), np.float32))[
        "noisy"
    ]
    for name in ("sigma_w", "sigma_b"):
        np.testing.assert_allclose(params[name], 0.0125, rtol=1e-6)
    for name in ("mu_w", "mu_b"):
        assert 0.11 < np.max(params[name]) <= 0.125
        assert -0.125 <= np.min(params[name]) < -0.11


@pytest.mark.parametrize(
    ("mu_bias", "sigma_bias", "names"),
    [
        (True, True, {"mu_w", "sigma_w", "mu_b", "sigma_b"}),
        (False, True, {"mu_w", "sigma_w", "sigma_b"}),
        (False, False, {"mu_w", "sigma_w"}),
    ],
)
def test_biases_are_there_if_asked_for(mu_bias, sigma_bias, names):
    layer = make_layer(mu_bias=mu_bias, sigma_bias=sigma_bias)
    params = jax.eval_shape(layer.init, jax.random.key(5), X)
    assert set(params["noisy"]) == names


def test_a_plain_layer_starts_uniform_and_is_linear():
    network = hk.without_apply_rng(hk.transform(lambda x: linear.linear(50, 2, True, "plain")(x)))
    params = network.init(jax.random.key(6), X)
    w, b = params["plain"]["w"], params["plain"]["b"]
    for x in (w, b):
        assert 0.6 < np.abs(x).max() <= 2**-0.5
    np.testing.assert_allclose(
        network.apply(params, X), X @ np.asarray(w) + np.asarray(b), rtol=1e-5, atol=1e-6
    )

"""Linear layers: plain and noisy."""

from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from core import types
from networks import declared, noise


def uniform_fan_in(fan_in: int) -> hk.initializers.Initializer:
    """Uniform in ±1/sqrt(fan_in), as DQN Zoo initializes all weights and biases."""
    bound = float(fan_in) ** -0.5
    return hk.initializers.RandomUniform(-bound, bound)


def linear(
    size: int,
    fan_in: int,
    with_bias: bool,
    name: str,
    kind: types.LayerKind = "hidden",
    init: hk.initializers.Initializer | None = None,
) -> hk.Linear:
    """A Haiku linear layer declared as `kind`; DQN Zoo's initializer if none is given."""
    init = init or uniform_fan_in(fan_in)
    layer = _Linear(size, with_bias, w_init=init, b_init=init, name=name)
    declared.declare(layer, kind, ("w",), ("b",) if with_bias else ())
    return layer


class _Linear(hk.Linear):
    """Haiku's, which declares what it reads."""

    def __call__(self, inputs: jax.Array, *, precision: Any = None) -> jax.Array:
        declared.reads(self, inputs)
        return super().__call__(inputs, precision=precision)


class SharedBiasLinear(hk.Module):
    """y[B, A, K] = x w + b with biases b [K] that A groups of outputs share.

    With K = 1 it is the output layer of DQN Zoo's Double DQN.
    """

    def __init__(self, groups: int, size: int, name: str, kind: types.LayerKind = "hidden"):
        """Creates a layer of `groups` times `size` outputs, declared as `kind`."""
        super().__init__(name=name)
        self._groups, self._size = groups, size
        declared.declare(self, kind, ("w",), ("b",))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, I] to [B, groups * size], the groups one after another."""
        declared.reads(self, x)
        init = uniform_fan_in(x.shape[-1])
        w = hk.get_parameter("w", (x.shape[-1], self._groups * self._size), init=init)
        b = hk.get_parameter("b", (self._size,), init=init)
        return x @ w + jnp.tile(b, self._groups)[None]


def factorised_noise(rng: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """f(e) with f(x) = sign(x) sqrt|x| and e truncated normal in ±2, as in DQN Zoo.

    Source: Fortunato et al. 2018, eq. 10-11 (with a normal e).
    """
    noise = jax.random.truncated_normal(rng, -2.0, 2.0, shape, jnp.float32)
    return jnp.sign(noise) * jnp.sqrt(jnp.abs(noise))


class NoisyParts(NamedTuple):
    """The weights [I, O] of a noisy layer, their noise [1, I] and [1, O], its noisy bias [1, O]."""

    mu: jax.Array
    sigma: jax.Array
    noise: noise.Noise
    bias: jax.Array

    @property
    def weight(self) -> jax.Array:
        """The noisy weight [I, O]."""
        return self.mu + self.sigma * (self.noise.inputs.T * self.noise.outputs)


class NoisyLinear(hk.Module):
    """y = x(mu_w + sigma_w * e_in e_out^T) + mu_b + sigma_b * e_out (Fortunato et al. 2018).

    The noise is drawn anew at each call from Haiku's rng stream (or was drawn ahead from the same
    keys, networks/noise.py), either one draw shared by the
    batch (the noisy weight is formed once, then one matrix product) or one draw per row (the
    factorised form, two products and no noisy weight; the cheaper one for a few rows).
    """

    def __init__(
        self,
        size: int,
        sigma_init: float,
        mu_bias: bool,
        sigma_bias: bool,
        per_sample: bool,
        name: str,
        kind: types.LayerKind = "hidden",
    ):
        """Creates the layer.

        Args:
          size: number of outputs.
          sigma_init: sigma starts at sigma_init / sqrt(fan_in), weights and biases alike.
          mu_bias: whether there is a learned bias.
          sigma_bias: whether there is a learned noisy bias.
          per_sample: one draw of the noise per row of the batch instead of one for all.
          name: the Haiku module's name.
          kind: what it is declared as.
        """
        super().__init__(name=name)
        self._size = size
        self._sigma_init = sigma_init
        self._has_bias = {"mu": mu_bias, "sigma": sigma_bias}
        self._per_sample = per_sample
        biases = tuple(f"{part}_b" for part, has_bias in self._has_bias.items() if has_bias)
        noise = tuple(name for name in ("sigma_w", *biases) if name.startswith("sigma"))
        declared.declare(self, kind, ("mu_w", "sigma_w"), biases, noise)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, I] to [B, size]."""
        declared.reads(self, x)
        batch, fan_in = x.shape
        noise_in, noise_out = self._noise(batch if self._per_sample else 1, fan_in)
        mu, sigma = self._weights("mu", fan_in), self._weights("sigma", fan_in)
        if self._per_sample:
            y = x @ mu + ((x * noise_in) @ sigma) * noise_out
        else:
            y = x @ (mu + sigma * (noise_in.T * noise_out))
        return self._add_biases(y, noise_out, fan_in)

    def parts(self, fan_in: int) -> NoisyParts:
        """The parts of the noisy weight [fan_in, size] and bias that rows of a batch share.

        For callers that do the product themselves, and say `declared.reads`.
        """
        drawn = self._noise(1, fan_in)
        mu, sigma = self._weights("mu", fan_in), self._weights("sigma", fan_in)
        bias = self._add_biases(jnp.zeros_like(drawn.outputs), drawn.outputs, fan_in)
        return NoisyParts(mu, sigma, drawn, bias)

    def _noise(self, rows: int, fan_in: int) -> noise.Noise:
        drawn = noise.supply(noise.Sizes(fan_in, self._size))
        if drawn is not None:
            return drawn
        rng_in, rng_out = jax.random.split(hk.next_rng_key())
        return noise.Noise(
            factorised_noise(rng_in, (rows, fan_in)),
            factorised_noise(rng_out, (rows, self._size)),
        )

    def _weights(self, part: str, fan_in: int) -> jax.Array:
        return hk.get_parameter(
            f"{part}_w", (fan_in, self._size), init=self._initializer(part, fan_in)
        )

    def _add_biases(self, y: jax.Array, noise_out: jax.Array, fan_in: int) -> jax.Array:
        for part, factor in (("mu", jnp.ones_like(noise_out)), ("sigma", noise_out)):
            if self._has_bias[part]:
                init = self._initializer(part, fan_in)
                bias = hk.get_parameter(f"{part}_b", (self._size,), init=init)
                y = y + bias[None] * factor
        return y

    def _initializer(self, part: str, fan_in: int) -> hk.initializers.Initializer:
        if part == "mu":
            return uniform_fan_in(fan_in)
        return hk.initializers.Constant(self._sigma_init * float(fan_in) ** -0.5)

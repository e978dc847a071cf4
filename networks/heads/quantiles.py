"""Quantiles of the return's distribution (Dabney et al. 2018)."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class QuantileOutput(NamedTuple):
    """Quantiles of the return, of N shares each.

    Attributes:
      q_values: their means, [B, A].
      quantiles: [B, N, A].
      taus: which ones they are, shares in (0, 1), [B, N].
    """

    q_values: jax.Array
    quantiles: jax.Array
    taus: jax.Array


def distribution(quantiles: jax.Array, taus: jax.Array) -> QuantileOutput:
    """The output with quantiles [B, N, A] at shares [B, N]."""
    chex.assert_rank([quantiles, taus], [3, 2])
    return QuantileOutput(jnp.mean(quantiles, axis=1), quantiles, taus)


def midpoints(num_quantiles: int) -> jax.Array:
    """The shares [N] in the middle of N equal parts of (0, 1)."""
    return (jnp.arange(num_quantiles, dtype=jnp.float32) + 0.5) / num_quantiles

"""Values as distributions over bins, learned by classification (Farebrother et al. 2024).

A value is the mean of the centers of evenly spaced bins under a softmax (c51.distribution); what it
is to become is turned into probabilities of the bins.
"""

import chex
import jax
import jax.numpy as jnp


def two_hot(values: jax.Array, centers: jax.Array) -> jax.Array:
    """Probabilities [B, bins] of the two nearest centers, whose mean is the value.

    Args:
      values: [B]; clipped to the range of the centers.
      centers: evenly spaced, [bins].
    """
    chex.assert_rank([values, centers], [1, 1])
    width = centers[1] - centers[0]
    values = jnp.clip(values, centers[0], centers[-1])
    distance = jnp.abs(values[:, None] - centers[None]) / width
    return jnp.maximum(1 - distance, 0)


def hl_gauss(values: jax.Array, centers: jax.Array, sigma: float) -> jax.Array:
    """Probabilities [B, bins] of a Gaussian around the value, cut off at the bins' outer edges.

    Args:
      values: [B]; clipped to the range of the centers.
      centers: evenly spaced, [bins].
      sigma: the Gaussian's, in widths of a bin.
    """
    chex.assert_rank([values, centers], [1, 1])
    width = centers[1] - centers[0]
    values = jnp.clip(values, centers[0], centers[-1])
    edges = jnp.append(centers - width / 2, centers[-1] + width / 2)
    deviations = (edges[None] - values[:, None]) / (sigma * width)
    below = jax.scipy.stats.norm.cdf(deviations)
    return jnp.diff(below, axis=1) / (below[:, -1:] - below[:, :1])


def smoothed(probabilities: jax.Array, share: float) -> jax.Array:
    """Probabilities [B, bins] with a share of the uniform distribution mixed in."""
    return (1 - share) * probabilities + share / probabilities.shape[-1]

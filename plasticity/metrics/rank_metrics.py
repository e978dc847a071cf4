"""How many directions features and weights have.

Pure functions of matrices; vmap them over a seed axis. For a matrix of zeros all of them are 0.
"""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from plasticity.metrics import layer_metrics

Scalars = dict[str, jax.Array]

_SRANK_DELTA = 0.01
_RANK_THRESHOLD = 0.01


def of_weights(matrices: Mapping[str, jax.Array]) -> dict[str, Scalars]:
    """{quantity: {layer: scalar}} of weights; kernels [H, W, I, O] count as [H W I, O]."""
    values = {name: singular_values(w.reshape(-1, w.shape[-1])) for name, w in matrices.items()}
    return {
        "weight_effective_rank": {name: effective_rank(s) for name, s in values.items()},
        "weight_stable_rank": {name: stable_rank(s) for name, s in values.items()},
    }


def of_features(features: Mapping[str, jax.Array]) -> dict[str, Scalars]:
    """{quantity: {layer: scalar}} of features [N, D], which are not centred."""
    values = {name: singular_values(h) for name, h in features.items()}
    sizes = {name: h.shape[0] for name, h in features.items()}
    return {
        "feature_effective_rank": {name: effective_rank(s) for name, s in values.items()},
        "feature_srank": {name: srank(s) for name, s in values.items()},
        "feature_rank": {name: rank(s, sizes[name]) for name, s in values.items()},
        "feature_largest_share": {
            name: layer_metrics.divide(s[0], jnp.sum(s)) for name, s in values.items()
        },
    }


def singular_values(matrix: jax.Array) -> jax.Array:
    """Of a matrix [N, D], largest first, [min(N, D)]."""
    chex.assert_rank(matrix, 2)
    return jnp.linalg.svd(matrix, compute_uv=False)


def effective_rank(values: jax.Array) -> jax.Array:
    """Exponential of the entropy of the normalized singular values (Roy & Vetterli 2007)."""
    total = jnp.sum(values)
    shares = layer_metrics.divide(values, total)
    entropy = -jnp.sum(jax.scipy.special.xlogy(shares, shares))
    return jnp.where(total > 0, jnp.exp(entropy), 0)


def srank(values: jax.Array, delta: float = _SRANK_DELTA) -> jax.Array:
    """The least k whose largest k singular values make up 1 - delta of their sum, int32.

    Source: Kumar et al. 2021, arXiv 2010.14498.
    """
    total = jnp.sum(values)
    is_short = jnp.cumsum(values) < (1 - delta) * total
    return jnp.where(total > 0, jnp.sum(is_short) + 1, 0).astype(jnp.int32)


def stable_rank(values: jax.Array) -> jax.Array:
    """||A||_F^2 / ||A||_2^2."""
    return layer_metrics.divide(jnp.sum(jnp.square(values)), jnp.square(values[0]))


def rank(values: jax.Array, num_rows: int, threshold: float = _RANK_THRESHOLD) -> jax.Array:
    """The singular values of features / sqrt(num_rows) above a threshold, int32.

    Source: Lyle et al. 2022, arXiv 2204.09560.
    """
    return jnp.sum(values / num_rows**0.5 > threshold, dtype=jnp.int32)

"""Quantities that show how trainable a network is: norms, effective learning rates, units, ranks.

Pure functions of one network's arrays; vmap them over a seed axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from plasticity import layers as layers_lib

Scalars = dict[str, jax.Array]

DORMANT_THRESHOLDS = (0.0, 0.025, 0.1)


def layer_norms(tree: Any, layers: Sequence[layers_lib.Layer]) -> Scalars:
    """Frobenius norm of each layer by its name: of parameters, gradients or updates.

    Args:
      tree: laid out as the parameters in which `layers` were found.
      layers: from `layers.find_layers` or `projection.projected_layers`.
    """
    leaves = layers_lib.leaves_by_path(tree)
    return {layer.name: layers_lib.group_norm(leaves, layer) for layer in layers}


def total_norm(norms: Mapping[str, jax.Array]) -> jax.Array:
    """The norm of several layers together, a scalar."""
    return jnp.sqrt(sum((jnp.square(norm) for norm in norms.values()), start=0.0))


def norm_ratios(norms: Mapping[str, jax.Array], initial: Mapping[str, jax.Array]) -> Scalars:
    """||W|| / ||W(0)|| per layer; 0 where the initial norm was 0."""
    return {name: _divide(norm, initial[name]) for name, norm in norms.items()}


def update_ratios(updates: Any, params: Any, layers: Sequence[layers_lib.Layer]) -> Scalars:
    """||dW|| / ||W|| per layer, the measured effective step; 0 where W is 0.

    Args:
      updates: what is added to the parameters, projection included.
      params: the parameters before it.
      layers: the layers to measure.
    """
    return norm_ratios(layer_norms(updates, layers), layer_norms(params, layers))


def rotation_angles(params_tm1: Any, params_t: Any, layers: Sequence[layers_lib.Layer]) -> Scalars:
    """The angle in radians between each layer's parameters at two times; 0 where either is 0."""
    leaves_tm1 = layers_lib.leaves_by_path(params_tm1)
    leaves_t = layers_lib.leaves_by_path(params_t)

    def angle(layer):
        norm_tm1 = layers_lib.group_norm(leaves_tm1, layer)
        norm_t = layers_lib.group_norm(leaves_t, layer)
        paths = layer.leaves.values()
        chord = {p: _divide(leaves_t[p], norm_t) - _divide(leaves_tm1[p], norm_tm1) for p in paths}
        # The arc over the chord: an arc cosine loses angles below 1e-4 in float32.
        arc = 2 * jnp.arcsin(jnp.clip(layers_lib.group_norm(chord, layer) / 2, 0, 1))
        return jnp.where((norm_tm1 > 0) & (norm_t > 0), arc, 0)

    return {layer.name: angle(layer) for layer in layers}


def effective_learning_rates(
    learning_rate: jax.typing.ArrayLike, norms: Mapping[str, jax.Array], power: int
) -> Scalars:
    """learning_rate / ||W||^power per layer (van Laarhoven 2017); 0 where W is 0.

    Args:
      learning_rate: the current one.
      norms: parameter norms by layer.
      power: 1 for Adam and other optimizers blind to the gradient's scale, 2 for SGD.
    """
    return {name: _divide(learning_rate, norm**power) for name, norm in norms.items()}


def dormant_fractions(
    activations: Mapping[str, jax.Array], threshold: float
) -> tuple[Scalars, jax.Array, jax.Array]:
    """Fractions of units whose mean |activation| is at most `threshold` of their layer's mean.

    The score of a unit is E|h_i| / (mean over the layer's units of E|h_k| + 1e-9), as in
    Dopamine (Sokar et al. 2023, arXiv 2302.12902, eq. 1).

    Args:
      activations: of hidden layers, [B, ..., units] each, after the nonlinearity. A convolution's
        channel is a unit; its expectation runs over the batch and the positions.
      threshold: tau, e.g. one of DORMANT_THRESHOLDS.

    Returns:
      The fraction per layer; the fraction of all units (Dopamine's); the layers' plain mean
      (Plasticine's).
    """
    is_dormant = {name: _unit_scores(h) <= threshold for name, h in activations.items()}
    fractions = {name: jnp.mean(unit, dtype=jnp.float32) for name, unit in is_dormant.items()}
    of_all = jnp.mean(jnp.concatenate(list(is_dormant.values())), dtype=jnp.float32)
    return fractions, of_all, jnp.mean(jnp.stack(list(fractions.values())))


def dead_fractions(activations: Mapping[str, jax.Array]) -> Scalars:
    """Fraction of each layer's units that are 0 for every input (and at every position)."""
    return {name: _fraction_of_units(h == 0) for name, h in activations.items()}


def linearised_fractions(activations: Mapping[str, jax.Array]) -> Scalars:
    """Fraction of each layer's ReLUs that are positive for every input: units that act linearly.

    Args:
      activations: [B, ..., units] each, before or after the ReLU, which is the same here.
        Source: Lyle et al. 2024, arXiv 2402.18762.
    """
    return {name: _fraction_of_units(h > 0) for name, h in activations.items()}


def effective_rank(features: jax.Array) -> jax.Array:
    """Exponential of the entropy of the normalized singular values (Roy & Vetterli 2007).

    Args:
      features: [N, D], not centred. 0 for an all-zero matrix.
    """
    values, total = _singular_values(features)
    shares = _divide(values, total)
    entropy = -jnp.sum(jax.scipy.special.xlogy(shares, shares))
    return jnp.where(total > 0, jnp.exp(entropy), 0)


def srank(features: jax.Array, delta: float = 0.01) -> jax.Array:
    """The least k whose largest k singular values make up 1 - delta of their sum, int32.

    Source: Kumar et al. 2021, arXiv 2010.14498.

    Args:
      features: [N, D]. 0 for an all-zero matrix.
      delta: the share that may be missing.
    """
    values, total = _singular_values(features)
    is_short = jnp.cumsum(values) < (1 - delta) * total
    return jnp.where(total > 0, jnp.sum(is_short) + 1, 0).astype(jnp.int32)


def _singular_values(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Singular values, largest first, and their sum."""
    chex.assert_rank(features, 2)
    values = jnp.linalg.svd(features, compute_uv=False)
    return values, jnp.sum(values)


def _unit_scores(h: jax.Array) -> jax.Array:
    means = jnp.mean(jnp.abs(h).reshape(-1, h.shape[-1]), axis=0)
    return means / (jnp.mean(means) + 1e-9)


def _fraction_of_units(holds: jax.Array) -> jax.Array:
    """The share of units (last axis) for which a property holds everywhere."""
    everywhere = jnp.all(holds.reshape(-1, holds.shape[-1]), axis=0)
    return jnp.mean(everywhere, dtype=jnp.float32)


def _divide(x: jax.typing.ArrayLike, y: jax.Array) -> jax.Array:
    """Quotient x / y, and 0 where y is 0."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1), 0)

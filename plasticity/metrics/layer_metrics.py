"""Norms of layers, of their gradients and updates, and effective learning rates.

Pure functions of one network's arrays; vmap them over a seed axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from plasticity import layers as layers_lib

Scalars = dict[str, jax.Array]


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
    return {name: divide(norm, initial[name]) for name, norm in norms.items()}


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
        chord = {p: divide(leaves_t[p], norm_t) - divide(leaves_tm1[p], norm_tm1) for p in paths}
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
    return {name: divide(learning_rate, norm**power) for name, norm in norms.items()}


def divide(x: jax.typing.ArrayLike, y: jax.Array) -> jax.Array:
    """Quotient x / y, and 0 where y is 0."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1), 0)

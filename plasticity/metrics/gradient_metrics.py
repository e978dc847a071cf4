"""What gradients, updates and the moments of Adam say of each layer.

Pure functions of one network's arrays; vmap them over a seed axis. A layer for which a quantity has
no meaning is left out of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from plasticity import adam_ages
from plasticity import layers as layers_lib
from plasticity.metrics import layer_metrics

Scalars = dict[str, jax.Array]


def of_gradients(grads: Any, layers: Sequence[layers_lib.Layer]) -> dict[str, Scalars]:
    """{quantity: {layer: scalar}} of gradients before clipping.

    gradient_l1: the sum of absolute values; gradient_nonzero: the share of elements that are not 0.
    They can collapse where the 2-norm, which few elements make up, does not (Abbas et al. 2023).

    Args:
      grads: laid out as the parameters in which `layers` were found.
      layers: to measure.
    """
    leaves = layers_lib.leaves_by_path(grads)
    flat = {layer.name: _flat(leaves, layer) for layer in layers}
    return {
        "gradient_l1": {name: jnp.sum(jnp.abs(g)) for name, g in flat.items()},
        "gradient_nonzero": {name: jnp.mean(g != 0, dtype=jnp.float32) for name, g in flat.items()},
    }


def mean_abs_weights(params: Any, layers: Sequence[layers_lib.Layer]) -> Scalars:
    """Mean |w| of each layer's weights; biases and norms are left out."""
    leaves = layers_lib.leaves_by_path(params)
    return {
        layer.name: jnp.mean(
            jnp.abs(jnp.concatenate([leaves[path].reshape(-1) for path in layer.weights]))
        )
        for layer in layers
        if layer.kind in layers_lib.WEIGHTED
    }


def updated_units(grads: Any, layers: Sequence[layers_lib.Layer]) -> Scalars:
    """The share of each layer's units that a batch moves.

    A unit is a column of the weights, or a convolution's channel. A batch moves it if the gradient
    of any of its incoming weights, or of its bias, is not 0.
    """
    leaves = layers_lib.leaves_by_path(grads)

    def share(layer):
        moved = [
            jnp.any((leaves[path] != 0).reshape(-1, leaves[path].shape[-1]), axis=0)
            for path in layer.leaves.values()
        ]
        # A bias that actions share belongs to the columns of all of them.
        width = max(x.size for x in moved)
        columns = jnp.stack([jnp.tile(x, width // x.size) for x in moved])
        return jnp.mean(jnp.any(columns, axis=0), dtype=jnp.float32)

    return {layer.name: share(layer) for layer in layers if layer.kind in layers_lib.WEIGHTED}


def tangential_ratios(updates: Any, params: Any, layers: Sequence[layers_lib.Layer]) -> Scalars:
    """||dW - its part along W|| / ||W|| of each layer; 0 where W is 0.

    Of a layer whose output does not depend on the scale of W only this part changes the function.

    Args:
      updates: what is added to the parameters, projection included.
      params: the parameters before it.
      layers: to measure.
    """
    moved, weights = (layers_lib.leaves_by_path(tree) for tree in (updates, params))

    def ratio(layer):
        dw, w = _flat(moved, layer), _flat(weights, layer)
        norm = layers_lib.group_norm(weights, layer)
        direction = layer_metrics.divide(w, norm)
        tangential = dw - jnp.sum(dw * direction) * direction
        return layer_metrics.divide(jnp.sqrt(jnp.sum(jnp.square(tangential))), norm)

    return {layer.name: ratio(layer) for layer in layers}


def of_adam(
    grads: Any, opt_state: Any, layers: Sequence[layers_lib.Layer], b2: float, eps: float
) -> dict[str, Scalars]:
    """{quantity: {layer: scalar}} of Adam's moments; {} for another optimizer.

    adam_stuck: the share of elements whose root of the bias-corrected second moment is below eps;
    adam_cosine: the cosine between first moment and gradient, 0 where either is 0; adam_age: the
    mean number of updates that elements have had.

    Args:
      grads: the gradients.
      opt_state: after the update.
      layers: to measure.
      b2: of the second moment.
      eps: of the optimizer.
    """
    kinds = (optax.ScaleByAdamState, adam_ages.AdamAgesState)
    is_adam = lambda node: isinstance(node, kinds)  # noqa: E731
    nodes = [x for x in jax.tree_util.tree_leaves(opt_state, is_leaf=is_adam) if is_adam(x)]
    if not nodes:
        return {}
    node: Any = nodes[0]
    if isinstance(node, adam_ages.AdamAgesState):
        ages = node.ages
    else:
        ages = jax.tree.map(lambda v: jnp.full(v.shape, node.count), node.nu)
    trees = (grads, node.mu, node.nu, ages)
    of_grads, first, second, of_ages = (layers_lib.leaves_by_path(tree) for tree in trees)

    def measure(layer):
        g, m, v, age = (_flat(x, layer) for x in (of_grads, first, second, of_ages))
        corrected = v / (1 - b2 ** jnp.maximum(age, 1))
        norms = jnp.linalg.norm(g) * jnp.linalg.norm(m)
        return {
            "adam_stuck": jnp.mean(jnp.sqrt(corrected) < eps, dtype=jnp.float32),
            "adam_cosine": layer_metrics.divide(jnp.sum(g * m), norms),
            "adam_age": jnp.mean(age, dtype=jnp.float32),
        }

    return by_quantity({layer.name: measure(layer) for layer in layers})


def by_quantity(by_layer: Mapping[str, Mapping[str, jax.Array]]) -> dict[str, Scalars]:
    """{quantity: {layer: scalar}} of {layer: {quantity: scalar}}."""
    found: dict[str, Scalars] = {}
    for layer, quantities in by_layer.items():
        for quantity, value in quantities.items():
            found.setdefault(quantity, {})[layer] = value
    return found


def _flat(leaves: Mapping[str, jax.Array], layer: layers_lib.Layer) -> jax.Array:
    return jnp.concatenate([leaves[path].reshape(-1) for path in layer.leaves.values()])

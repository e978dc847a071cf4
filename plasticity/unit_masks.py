"""Which elements of parameters lead into and out of hidden units, by the declared unit graph."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core import types
from plasticity import layers


class UnitMasks(NamedTuple):
    """Elements of parameters by their paths, as booleans that broadcast to the leaf.

    Attributes:
      weights: matrices and kernels that lead into the units; sigma's of a noisy layer too.
      biases: biases that do.
      scales: scales of their norms.
      offsets: offsets of their norms.
      outgoing: weights of the layers that read the units.
    """

    weights: dict[str, jax.Array]
    biases: dict[str, jax.Array]
    scales: dict[str, jax.Array]
    offsets: dict[str, jax.Array]
    outgoing: dict[str, jax.Array]

    def touched(self) -> dict[str, jax.Array]:
        """All of these elements."""
        found: dict[str, jax.Array] = {}
        for masks in self:
            for path, mask in masks.items():
                found[path] = found[path] | mask if path in found else mask
        return found


def of_units(
    params: Any,
    declared: types.DeclaredNetwork,
    chosen: Mapping[str, jax.Array],
    features_per_unit: int = 1,
) -> UnitMasks:
    """The elements that lead into and out of some units.

    Args:
      params: of the network.
      declared: by the network.
      chosen: by name of units, bool [C]: which of them.
      features_per_unit: 2 for CReLU and Fourier features, whose halves follow one another.
    """
    paths = _paths(params)
    leaves = layers.leaves_by_path(params)
    own = {layer.module: layer for layer in declared.layers}
    masks = UnitMasks({}, {}, {}, {}, {})
    for units in declared.units:
        if units.name not in chosen:
            continue
        mask = chosen[units.name]
        for module in units.incoming:
            layer = own[module]
            is_norm = layer.kind in ("norm", "free_norm")
            of_weights = masks.scales if is_norm else masks.weights
            of_biases = masks.offsets if is_norm else masks.biases
            for found, names in ((of_weights, layer.weights), (of_biases, layer.biases)):
                for path in (paths[module, name] for name in names):
                    # A norm behind CReLU has both halves.
                    own_mask = jnp.tile(mask, leaves[path].shape[-1] // mask.size)
                    found[path] = own_mask.reshape((1,) * (leaves[path].ndim - 1) + own_mask.shape)
        features = jnp.tile(mask, features_per_unit)
        for reader in units.readers:
            rows = jnp.tile(features, reader.positions)
            for name in own[reader.module].weights:
                path = paths[reader.module, name]
                assert leaves[path].shape[-2] == rows.shape[0]
                rows = rows.reshape((1,) * (leaves[path].ndim - 2) + (rows.size, 1))
                before = masks.outgoing.get(path)
                masks.outgoing[path] = rows if before is None else before | rows
    return masks


class Connection(NamedTuple):
    """The weights by which a layer reads units, without a noisy layer's sigma.

    Attributes:
      path: of the weights [..., positions * features, outputs].
      positions: of each feature along the rows: feature f is at f, f + features, ....
      bias: the path of that layer's bias [outputs]; None if it has none.
    """

    path: str
    positions: int
    bias: str | None


def connections(params: Any, declared: types.DeclaredNetwork, name: str) -> list[Connection]:
    """The connections from the units of that name to the layers that read them."""
    paths, leaves = _paths(params), layers.leaves_by_path(params)
    own = {layer.module: layer for layer in declared.layers}
    found = []
    for reader in _units(declared, name).readers:
        layer = own[reader.module]
        biases = [paths[reader.module, x] for x in layer.biases if x not in layer.noise]
        for weights in (x for x in layer.weights if x not in layer.noise):
            path = paths[reader.module, weights]
            # A bias that actions share is not one of a column.
            fits = biases and leaves[biases[0]].shape[-1] == leaves[path].shape[-1]
            found.append(Connection(path, reader.positions, biases[0] if fits else None))
    return found


def incoming(params: Any, declared: types.DeclaredNetwork, name: str) -> list[str]:
    """The paths of the weights [..., C] that lead into units, without a noisy layer's sigma."""
    paths = _paths(params)
    own = {layer.module: layer for layer in declared.layers}
    found = (own[module] for module in _units(declared, name).incoming)
    return [
        paths[layer.module, weights]
        for layer in found
        if layer.kind in layers.WEIGHTED
        for weights in layer.weights
        if weights not in layer.noise
    ]


def _units(declared: types.DeclaredNetwork, name: str) -> types.DeclaredUnits:
    return next(units for units in declared.units if units.name == name)


def begin_anew(params: Any, fresh: Any, masks: UnitMasks) -> Any:
    """The parameters with units that begin anew, and are not heard by the layers that read them.

    Incoming weights as in `fresh`, biases 0, a norm's scale 1 and offset 0, outgoing weights 0.

    Args:
      params: of the network.
      fresh: new ones, laid out alike.
      masks: of the units.
    """
    new = layers.leaves_by_path(fresh)
    values: Sequence[tuple[Mapping[str, jax.Array], Any]] = (
        (masks.weights, lambda path: new[path]),
        (masks.biases, lambda path: jnp.zeros_like(new[path])),
        (masks.scales, lambda path: jnp.ones_like(new[path])),
        (masks.offsets, lambda path: jnp.zeros_like(new[path])),
        (masks.outgoing, lambda path: jnp.zeros_like(new[path])),
    )
    for chosen, value in values:
        replace = lambda path, w, m=chosen, v=value: jnp.where(m[path], v(path), w)  # noqa: E731
        params = layers.map_leaves(replace, params, chosen)
    return params


def _paths(params: Any) -> dict[tuple[str, str], str]:
    """The path of each leaf by its module's joined path and its own name."""
    found = {}
    for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]:
        names = [str(key.key) for key in path]
        found["/".join(names[:-1]), names[-1]] = jax.tree_util.keystr(path)
    return found

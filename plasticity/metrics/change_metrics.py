"""How far a network has moved between two moments (Abbas et al. 2023, arXiv 2303.07507)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from plasticity import layers as layers_lib


class LayerChange(NamedTuple):
    """Of a layer's weights, without its biases.

    Attributes:
      change: ||W' - W||_2.
      norm: ||W||_2 before.
      weights: how many.
    """

    change: float
    norm: float
    weights: int


def of_layers(
    before: Any, after: Any, layers: Sequence[layers_lib.Layer]
) -> dict[str, LayerChange]:
    """The change of each layer's weights, by its name; of layers with matrices or kernels.

    Args:
      before: parameters.
      after: the same tree at another moment.
      layers: of the tree, from `layers.find_layers`.
    """
    leaves, later = layers_lib.leaves_by_path(before), layers_lib.leaves_by_path(after)
    found = {}
    for layer in layers:
        if layer.kind not in layers_lib.WEIGHTED:
            continue
        ws = [np.asarray(leaves[path], np.float64) for path in layer.weights]
        changes = [np.asarray(later[path], np.float64) - w for path, w in zip(layer.weights, ws)]
        found[layer.name] = LayerChange(_norm(changes), _norm(ws), sum(w.size for w in ws))
    return found


def mean_ratio(changes: Mapping[str, LayerChange], reference: Mapping[str, LayerChange]) -> float:
    """The changes over a reference's, averaged over layers, each counted by its weights.

    Layers that did not change in the reference are left out; nan if none is left.
    """
    moved = {name: x for name, x in changes.items() if reference[name].change > 0}
    total = sum(x.weights for x in moved.values())
    if not total:
        return float("nan")
    ratios = (x.weights * x.change / reference[name].change for name, x in moved.items())
    return sum(ratios) / total


def _norm(arrays: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(x)) for x in arrays)))

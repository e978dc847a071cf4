"""What is measured of an agent's networks on a batch of observations: units and ranks."""

from collections.abc import Mapping
from typing import Any

from agents import base
from core import types
from networks import activations
from plasticity import layers
from plasticity.metrics import rank_metrics, unit_metrics


def measure_units(
    seen: Mapping[str, activations.Units], chosen: activations.Settings
) -> dict[str, base.Scalars]:
    """{quantity: {layer: scalar}}; see plasticity/metrics/unit_metrics.py.

    Args:
      seen: the units of a network, by layer.
      chosen: its nonlinearity.
    """
    slope = unit_metrics.Slope(chosen.derivative, chosen.is_homogeneous)
    return {**unit_metrics.measure(seen, slope)}


def measure_ranks(
    params: Any, seen: Mapping[str, activations.Units], declared: types.DeclaredNetwork
) -> dict[str, base.Scalars]:
    """{quantity: {layer: scalar}} of weights, and of features [B, D]; see rank_metrics.

    Of a noisy layer the means' weights; of a convolution no features, whose ranks would take long.
    """
    found = layers.find_layers(params, lambda _: declared.layers, noisy="mu_only")
    leaves = layers.leaves_by_path(params)
    matrices = {
        layer.name.removesuffix("/mu"): leaves[layer.weights[0]]
        for layer in found
        if layer.kind in ("hidden", "output")
    }
    features = {name: units.post for name, units in seen.items() if units.post.ndim == 2}
    return {**rank_metrics.of_weights(matrices), **rank_metrics.of_features(features)}

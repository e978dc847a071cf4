"""What is measured of an agent's networks on a batch: units, ranks, and how they would learn."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import base
from core import types
from networks import activations
from plasticity import layers
from plasticity.metrics import churn_metrics, curvature_metrics, rank_metrics, unit_metrics


def measure_units(
    seen: Mapping[str, activations.Units], chosen: activations.Settings
) -> dict[str, base.Scalars]:
    """{quantity: {layer: scalar}}; see plasticity/metrics/unit_metrics.py.

    Args:
      seen: the units of a network, by layer.
      chosen: its nonlinearity.
    """
    slope = unit_metrics.Slope(chosen.derivative, chosen.is_homogeneous, chosen.kind == "tanh")
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
        if layer.kind in layers.WEIGHTED
    }
    features = {name: units.post for name, units in seen.items() if units.post.ndim == 2}
    return {**rank_metrics.of_weights(matrices), **rank_metrics.of_features(features)}


class Network(NamedTuple):
    """A network at one moment, as functions without randomness.

    Attributes:
      params: its parameters.
      updated_params: after an update on a batch that is not the probe's.
      values: (params, observations [B, ...]) -> action values [B, A].
      loss: (params, transitions [B, ...]) -> scalar, the mean over them.
    """

    params: Any
    updated_params: Any
    values: Callable[[Any, jax.Array], jax.Array]
    loss: Callable[[Any, types.Transition], jax.Array]


def measure_network(network: Network, rng: jax.Array, probe: types.Transition) -> base.Scalars:
    """Scalars by name: churn, Jacobians, gradients of single transitions, kernel, sharpness.

    See plasticity/metrics/churn_metrics.py and curvature_metrics.py.

    Args:
      network: to measure.
      rng: of random directions.
      probe: transitions [B, ...], drawn uniformly.
    """
    params, observations = network.params, probe.s_tm1
    rng_jacobian, rng_sharpness = jax.random.split(base.apart(rng, base.MEASUREMENTS))
    values = network.values(params, observations)
    best = jnp.argmax(values, axis=-1)

    def value_gradient(example):
        observation, action = example
        return jax.grad(lambda p: network.values(p, observation[None])[0, action])(params)

    def loss_gradient(transition):
        alone = jax.tree.map(lambda x: x[None], transition)
        return jax.grad(network.loss)(params, alone)

    cosines = curvature_metrics.cosines(curvature_metrics.gram(loss_gradient, probe))
    kernel = curvature_metrics.kernel(curvature_metrics.gram(value_gradient, (observations, best)))
    return {
        **churn_metrics.churn(values, network.values(network.updated_params, observations)),
        "parameter_jacobian": curvature_metrics.parameter_jacobian_norm(
            network.values, params, observations, rng_jacobian
        ),
        **_input_jacobian(network, observations),
        **{f"gradient_cosine_{name}": value for name, value in cosines._asdict().items()},
        **{f"ntk_{name}": value for name, value in kernel._asdict().items()},
        "sharpness": curvature_metrics.sharpness(
            lambda p: network.loss(p, probe), params, rng_sharpness
        ),
    }


def _input_jacobian(network: Network, observations: jax.Array) -> base.Scalars:
    """Of observations that are numbers; pixels, which are integers, have none."""
    if not jnp.issubdtype(observations.dtype, jnp.floating):
        return {}
    values = lambda x: network.values(network.params, x)  # noqa: E731
    return {"input_jacobian": curvature_metrics.input_jacobian_norm(values, observations)}

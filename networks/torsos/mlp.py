"""A multi-layer perceptron for vector observations."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, settings
from networks import linear, nonlinearity


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.torso`."""

    module: str = settings.key("mlp", checks.one_of("mlp"), "this torso")
    hidden_sizes: tuple[int, ...] = settings.key(
        (128,), checks.each(checks.integer(1)), "widths of the hidden layers"
    )


def make(
    config: Settings, nonlinear: nonlinearity.Nonlinearity
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: observations [B, ...] to features float32 [B, F].

    Args:
      config: its section.
      nonlinear: follows each layer.
    """

    def torso(observation: jax.Array) -> jax.Array:
        # Not hk.Flatten: observations may be single numbers, [B].
        x = observation.astype(jnp.float32).reshape(observation.shape[0], -1)
        for i, size in enumerate(config.hidden_sizes):
            name, units = f"linear_{i}", nonlinear.units(size)
            layer = linear.linear(units, x.shape[-1], nonlinear.layer_has_bias, name)
            x = nonlinear(layer(x), name, f"norm_{i}", layer)
        return x

    return hk.to_module(torso)(name="torso")

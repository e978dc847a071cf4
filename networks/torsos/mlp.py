"""A multi-layer perceptron for vector observations."""

from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks
from networks import linear, normalization

CHECKS = {
    "module": checks.one_of("mlp"),
    "hidden_sizes": checks.each(checks.integer(1)),
}


def make(
    config: Mapping[str, Any], norm: normalization.Normalization
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: observations [B, ...] to features float32 [B, F].

    Args:
      config: the section `network.torso`.
      norm: what stands before each nonlinearity.

    Raises:
      ConfigError: for a bad key or value.
    """
    checks.verify("network.torso", config, CHECKS)

    def torso(observation: jax.Array) -> jax.Array:
        # Not hk.Flatten: observations may be single numbers, [B].
        x = observation.astype(jnp.float32).reshape(observation.shape[0], -1)
        for i, size in enumerate(config["hidden_sizes"]):
            x = linear.linear(size, x.shape[-1], norm.layer_has_bias, f"linear_{i}")(x)
            x = jax.nn.relu(norm(x, f"norm_{i}"))
        return x

    return hk.to_module(torso)(name="torso")

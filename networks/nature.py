"""The torso of DQN (Mnih et al. 2015), with a norm before each nonlinearity if asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from configs import checks
from networks import convolution, normalization

CHECKS = {
    "module": checks.one_of("nature"),
    "formulation": checks.one_of("matmul", "lax"),
}

# (channels, kernel size, stride) of the three layers.
_LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))


def make(
    config: Mapping[str, Any], norm: normalization.Normalization
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: frame stacks uint8 [B, S, H, W] to features float32 [B, F].

    Args:
      config: the section `network.torso`.
      norm: what stands before each nonlinearity.

    Raises:
      ConfigError: for a bad key or value.
    """
    checks.verify("network.torso", config, CHECKS)

    def torso(observation: jax.Array) -> jax.Array:
        chex.assert_rank(observation, 4)
        chex.assert_type(observation, jnp.uint8)
        x = observation
        for i, (channels, size, stride) in enumerate(_LAYERS):
            x = convolution.ValidConv2D(
                channels, size, stride, norm.layer_has_bias, config["formulation"], f"conv_{i}"
            )(x)
            x = jax.nn.relu(norm(x, f"norm_{i}"))
        return hk.Flatten()(x)

    return hk.to_module(torso)(name="torso")

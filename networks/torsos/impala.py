"""The residual torso of IMPALA (Espeholt et al. 2018), with a norm before each nonlinearity."""

from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax

from core import checks
from networks import convolution, linear, normalization

CHECKS = {
    "module": checks.one_of("impala"),
    "channels": checks.each(checks.integer(1)),
    "width_multiplier": checks.integer(1),
    "blocks": checks.integer(1),
}


def make(
    config: Mapping[str, Any], norm: normalization.Normalization
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: frame stacks uint8 [B, S, H, W] to features float32 [B, F].

    Each section is a 3x3 convolution, a 3x3 max-pool of stride 2 and residual blocks, which are
    [norm, ReLU, conv] twice (the norm stands before the nonlinearity, here before the layer too).

    Args:
      config: the section `network.torso`: sections' channels, their multiplier, blocks a section.
      norm: what stands before each nonlinearity.

    Raises:
      ConfigError: for a bad key or value.
    """
    checks.verify("network.torso", config, CHECKS)

    def torso(observation: jax.Array) -> jax.Array:
        convolution.check_frames("impala", observation, smallest=1)
        x = convolution.frames_to_images(observation)
        for i, channels in enumerate(config["channels"]):
            channels = channels * config["width_multiplier"]
            x = _convolution(x, channels, True, f"section_{i}_conv")
            x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
            for j in range(config["blocks"]):
                x = _residual_block(x, norm, f"section_{i}_block_{j}")
        return hk.Flatten()(jax.nn.relu(norm(x, "norm")))

    return hk.to_module(torso)(name="torso")


def _residual_block(x: jax.Array, norm: normalization.Normalization, name: str) -> jax.Array:
    """Adds to x what [norm, ReLU, conv] twice makes of it.

    Only the first convolution is followed by a norm before anything else, so only it may drop
    its bias; the second adds into the residual stream.
    """
    y = jax.nn.relu(norm(x, f"{name}_norm_0"))
    y = _convolution(y, x.shape[-1], norm.layer_has_bias, f"{name}_conv_0")
    y = jax.nn.relu(norm(y, f"{name}_norm_1"))
    return x + _convolution(y, x.shape[-1], True, f"{name}_conv_1")


def _convolution(x: jax.Array, channels: int, with_bias: bool, name: str) -> jax.Array:
    init = linear.uniform_fan_in(9 * x.shape[-1])
    return hk.Conv2D(channels, 3, with_bias=with_bias, w_init=init, b_init=init, name=name)(x)

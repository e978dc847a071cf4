"""The residual torso of IMPALA (Espeholt et al. 2018), with a norm before each nonlinearity."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax

from core import checks, settings
from networks import activation, convolution, declared, linear, normalization


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.torso`."""

    module: str = settings.key("impala", checks.one_of("impala"), "this torso")
    channels: tuple[int, ...] = settings.key(
        (16, 32, 32), checks.each(checks.integer(1)), "of each section", "Espeholt et al. 2018"
    )
    width_multiplier: int = settings.key(1, checks.integer(1), "of the channels")
    blocks: int = settings.key(
        2, checks.integer(1), "residual blocks of each section", "Espeholt et al. 2018"
    )


def make(config: Settings, norm: normalization.Normalization) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: frame stacks uint8 [B, S, H, W] to features float32 [B, F].

    Each section is a 3x3 convolution, a 3x3 max-pool of stride 2 and residual blocks, which are
    [norm, ReLU, conv] twice (the norm stands before the nonlinearity, here before the layer too).

    Args:
      config: its section.
      norm: applied before each nonlinearity.
    """

    def torso(observation: jax.Array) -> jax.Array:
        convolution.check_frames("impala", observation, smallest=1)
        x = convolution.frames_to_images(observation)
        for i, channels in enumerate(config.channels):
            channels = channels * config.width_multiplier
            x = _convolution(x, channels, True, f"section_{i}_conv")
            x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
            for j in range(config.blocks):
                x = _residual_block(x, norm, f"section_{i}_block_{j}")
        return hk.Flatten()(activation.activate(norm(x, "norm"), "last"))

    return hk.to_module(torso)(name="torso")


def _residual_block(x: jax.Array, norm: normalization.Normalization, name: str) -> jax.Array:
    """Adds to x the result of [norm, ReLU, conv] twice.

    Only the first convolution feeds directly into a norm, so only it may drop its bias; the
    second adds to the residual stream.
    """
    y = activation.activate(norm(x, f"{name}_norm_0"), f"{name}_norm_0")
    y = _convolution(y, x.shape[-1], norm.layer_has_bias, f"{name}_conv_0")
    y = activation.activate(norm(y, f"{name}_norm_1"), f"{name}_norm_1")
    return x + _convolution(y, x.shape[-1], True, f"{name}_conv_1")


def _convolution(x: jax.Array, channels: int, with_bias: bool, name: str) -> jax.Array:
    init = linear.uniform_fan_in(9 * x.shape[-1])
    layer = hk.Conv2D(channels, 3, with_bias=with_bias, w_init=init, b_init=init, name=name)
    declared.declare(layer, "hidden", ("w",), ("b",) if with_bias else ())
    return layer(x)

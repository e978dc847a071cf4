"""The residual torso of IMPALA (Espeholt et al. 2018), with a norm before each nonlinearity."""

import dataclasses
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, settings, types
from networks import convolution, declared, linear, nonlinearity


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
    pooled_size: int = settings.key(
        0,
        checks.integer(0),
        "to which height and width the last maps are max-pooled; 0: as they are",
        "Espeholt et al. 2018: 0; Clark et al. 2024: 6",
    )


def make(
    config: Settings, nonlinear: nonlinearity.Nonlinearity
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: frame stacks uint8 [B, S, H, W] to features float32 [B, F].

    Each section is a 3x3 convolution, a 3x3 max-pool of stride 2 and residual blocks, which are
    [norm, ReLU, conv] twice (the norm stands before the nonlinearity, here before the layer too).

    Args:
      config: its section.
      nonlinear: stands before each layer of a block, and at the end.
    """

    def torso(observation: jax.Array) -> jax.Array:
        convolution.check_frames("impala", observation, smallest=1)
        x = convolution.frames_to_images(observation)
        for i, channels in enumerate(config.channels):
            channels = channels * config.width_multiplier
            x = _convolution(x, channels, True, f"section_{i}_conv", "free")(x)
            x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
            for j in range(config.blocks):
                x = _residual_block(x, nonlinear, f"section_{i}_block_{j}")
        x = nonlinear(x, "last", "norm")
        pooled = _pool_to(config.pooled_size, x) if config.pooled_size else x
        return declared.carry(x, hk.Flatten()(pooled))

    return hk.to_module(torso)(name="torso")


def _pool_to(size: int, x: jax.Array) -> jax.Array:
    """The largest in each of size x size windows that cover [B, H, W, C] evenly.

    A window goes from floor(i H / size) to ceil((i + 1) H / size), as PyTorch's do.

    Raises:
      ConfigError: if the maps are smaller.
    """
    if min(x.shape[1:3]) < size:
        raise checks.ConfigError(
            f"network.torso.pooled_size = {size}: expected at most the maps' {min(x.shape[1:3])}"
        )
    for axis in (1, 2):
        length = x.shape[axis]
        windows = [
            jax.lax.slice_in_dim(x, i * length // size, -(-(i + 1) * length // size), axis=axis)
            for i in range(size)
        ]
        x = jnp.stack([jnp.max(window, axis) for window in windows], axis)
    return x


def _residual_block(x: jax.Array, nonlinear: nonlinearity.Nonlinearity, name: str) -> jax.Array:
    """Adds to x the result of [norm, ReLU, conv] twice.

    Only the first convolution feeds directly into a norm, so only it may drop its bias, and be
    projected; the second adds to the residual stream, where its scale matters.
    """
    y = nonlinear(x, f"{name}_in_0", f"{name}_norm_0")
    units, has_bias = nonlinear.units(x.shape[-1]), nonlinear.layer_has_bias
    layer = _convolution(y, units, has_bias, f"{name}_conv_0")
    # The stream has no norm before the next block's: the scale of what is added to it matters.
    y = nonlinear(layer(y), f"{name}_in_1", f"{name}_norm_1", layer, "free_norm")
    return x + _convolution(y, x.shape[-1], True, f"{name}_conv_1", "free")(y)


class _Conv2D(hk.Conv2D):
    """Haiku's, which declares what it reads."""

    def __call__(self, inputs: jax.Array, *, precision: Any = None) -> jax.Array:
        declared.reads(self, inputs)
        return super().__call__(inputs, precision=precision)


def _convolution(
    x: jax.Array, channels: int, with_bias: bool, name: str, kind: types.LayerKind = "hidden"
) -> _Conv2D:
    """A 3x3 convolution for inputs like x, declared as `kind`."""
    init = linear.uniform_fan_in(9 * x.shape[-1])
    layer = _Conv2D(channels, 3, with_bias=with_bias, w_init=init, b_init=init, name=name)
    declared.declare(layer, kind, ("w",), ("b",) if with_bias else ())
    return layer

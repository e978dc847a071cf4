"""A torso on the unit sphere for vector observations (SimbaV2: Lee et al. 2025, arXiv 2502.15280).

Features have norm 1 after every block, each block moves them towards its output by a learned share,
and the vectors that lead into units begin with norm 1. They stay there if
`interventions = ({'module': 'row_projection', 'layers': 'torso'},)` holds them, as the paper does
after every update. Observations are to be of about unit size: the paper standardizes them.
"""

import dataclasses
from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, settings
from networks import declared, linear, nonlinearity

# The hidden layer of a block, in widths of the torso.
_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.torso`."""

    module: str = settings.key("hyperspherical", checks.one_of("hyperspherical"), "this torso")
    width: int = settings.key(
        128, checks.integer(1), "of the features", "ours; SimbaV2's critic: 512"
    )
    blocks: int = settings.key(
        1, checks.integer(1), "of two layers each", "ours; SimbaV2's critic: 2"
    )
    shift: float = settings.key(
        3.0, checks.number(0), "appended to an observation, so that its size is not lost", "SimbaV2"
    )


def make(
    config: Settings, nonlinear: nonlinearity.Nonlinearity
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: observations [B, ...] to features float32 [B, F] of norm 1.

    Args:
      config: its section.
      nonlinear: follows the hidden layer of each block.
    """

    def torso(observation: jax.Array) -> jax.Array:
        x = observation.astype(jnp.float32).reshape(observation.shape[0], -1)
        x = _on_sphere(jnp.concatenate([x, jnp.full((x.shape[0], 1), config.shift)], axis=-1))
        x = _Scale(2**0.5, "input_scale")(_dense(x, config.width, "input"))
        x = _on_sphere(x)
        for i in range(config.blocks):
            y = _on_sphere(_block(x, nonlinear, f"block_{i}"))
            share = _Scale(1 / (config.blocks + 1), f"block_{i}_share")
            x = _on_sphere(x + share(y - x))
        return x

    return hk.to_module(torso)(name="torso")


def _block(x: jax.Array, nonlinear: nonlinearity.Nonlinearity, name: str) -> jax.Array:
    width = x.shape[-1]
    layer = linear.linear(
        nonlinear.units(_EXPANSION * width), width, False, f"{name}_hidden", init=_unit_columns
    )
    scale = _Scale(2**0.5, f"{name}_scale")
    y = nonlinear(scale(layer(x)), f"{name}_hidden", f"{name}_norm", layer)
    return _dense(y, width, f"{name}_output")


def _dense(x: jax.Array, width: int, name: str) -> jax.Array:
    return linear.linear(width, x.shape[-1], False, name, init=_unit_columns)(x)


def _on_sphere(x: jax.Array) -> jax.Array:
    """Features [B, C] divided by its norms; rows of 0 stay."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-16))


def _unit_columns(shape: Sequence[int], dtype: jnp.dtype) -> jax.Array:
    """Orthogonal weights [I, O] whose columns have norm 1."""
    w = jax.nn.initializers.orthogonal()(hk.next_rng_key(), shape, dtype)
    return w / jnp.linalg.norm(w, axis=0, keepdims=True)


class _Scale(hk.Module):
    """Multiplies each feature by a learned factor, `init` at first.

    The parameter itself begins with 1/sqrt(C), the size of a unit vector's elements, so that it
    learns as fast as the weights do.
    """

    def __init__(self, init: float, name: str):
        super().__init__(name=name)
        self._init = init
        declared.declare(self, "free_norm", ("scale",))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, C] to [B, C]."""
        size = x.shape[-1] ** -0.5
        scale = hk.get_parameter("scale", x.shape[-1:], init=hk.initializers.Constant(size))
        return x * (scale * (self._init / size))[None]

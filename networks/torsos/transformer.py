"""A small vision transformer (Dosovitskiy et al. 2021) with NaP's norms.

A picture's patches are tokens. Each block adds to them what attention finds, and then what a layer
of hidden units makes of them. With a norm, queries and keys have one each, as in Dehghani et al.
2023, and another follows wherever Lyle et al. 2024 ask for it: behind the embedding, in front of
attention and of every nonlinearity, always over the channels of a token. Without one there is none
at all.
"""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from core import checks, settings, types
from networks import convolution, declared, linear, nonlinearity, normalization

# The hidden layer of a block, in widths of the torso.
_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.torso`."""

    module: str = settings.key("transformer", checks.one_of("transformer"), "this torso")
    width: int = settings.key(64, checks.integer(4), "of the tokens", "ours")
    blocks: int = settings.key(2, checks.integer(1), "of attention and a hidden layer", "ours")
    heads: int = settings.key(4, checks.integer(1), "of attention; divides the width", "ours")
    patch_size: int = settings.key(
        4, checks.integer(1), "height and width of a patch; divides those of the pictures", "ours"
    )

    def __post_init__(self):
        """Raises ConfigError for heads or sines that the width can't be divided among."""
        if self.width % self.heads or self.width % 4:
            raise checks.ConfigError(
                f"network.torso.width = {self.width}: expected a multiple of 4 and of heads = "
                f"{self.heads}"
            )


def make(
    config: Settings, nonlinear: nonlinearity.Nonlinearity
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: pictures uint8 [B, S, H, W] to features float32 [B, width].

    Args:
      config: its section.
      nonlinear: follows the hidden layer of each block, and the last block.
    """
    norm = dataclasses.replace(nonlinear.norm, axes="channels")
    nonlinear = dataclasses.replace(nonlinear, norm=norm)

    def torso(observation: jax.Array) -> jax.Array:
        convolution.check_frames("transformer", observation, smallest=config.patch_size)
        x = _tokens(observation, config.patch_size)
        x = _dense(x, config.width, norm.layer_has_bias, "embedding")
        x, _ = norm(x, "embedding_norm", "free_norm")
        x = x + _positions(observation.shape[2:], config)[None]
        for i in range(config.blocks):
            x = x + _attention(x, config.heads, norm, f"block_{i}")
            x = x + _hidden(x, nonlinear, f"block_{i}")
        y = nonlinear(x, "last", "last_norm")
        return declared.carry(y, jnp.mean(y, axis=1))

    return hk.to_module(torso)(name="torso")


def _tokens(pictures: jax.Array, size: int) -> jax.Array:
    """The patches of uint8 [B, S, H, W], as float32 [B, N, S * size * size] in 0..1.

    Raises:
      ConfigError: if patches do not cover the pictures.
    """
    height, width = pictures.shape[2:]
    if height % size or width % size:
        raise checks.ConfigError(
            f"network.torso.patch_size = {size}: expected a divisor of the pictures' height and "
            f"width, {height} and {width}"
        )
    patches = convolution.space_to_depth(convolution.frames_to_images(pictures), size)
    return patches.reshape(patches.shape[0], -1, patches.shape[-1])


def _positions(shape: tuple[int, ...], config: Settings) -> jax.Array:
    """Sines and cosines of each patch's row and column, [N, width]; nothing to be learned."""
    rows, columns = np.indices([length // config.patch_size for length in shape]).reshape(2, -1, 1)
    rates = 100.0 ** -np.linspace(0, 1, config.width // 4)
    waves = [f(x * rates) for x in (rows, columns) for f in (np.sin, np.cos)]
    return jnp.asarray(np.concatenate(waves, axis=1), jnp.float32)


def _attention(x: jax.Array, heads: int, norm: normalization.Normalization, name: str) -> jax.Array:
    """What tokens [B, N, C] find in each other."""
    # The scale of a norm matters wherever no other one follows.
    y, _ = norm(x, f"{name}_attention_norm", "free_norm")

    def project(part: str, is_normed: bool) -> jax.Array:
        has_bias = norm.layer_has_bias or not is_normed
        z = _dense(y, y.shape[-1], has_bias, f"{name}_{part}", "hidden" if is_normed else "free")
        z = z.reshape(*z.shape[:2], heads, -1)
        return norm(z, f"{name}_{part}_norm", "free_norm")[0] if is_normed else z

    queries, keys, values = (project(*part) for part in _PARTS)
    scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) * queries.shape[-1] ** -0.5
    found = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), values)
    return _dense(found.reshape(x.shape), x.shape[-1], True, f"{name}_output", "free")


# And whether a norm follows.
_PARTS = (("query", True), ("key", True), ("value", False))


def _hidden(x: jax.Array, nonlinear: nonlinearity.Nonlinearity, name: str) -> jax.Array:
    """What a layer of hidden units makes of each token [B, N, C]."""
    width = x.shape[-1]
    layer = linear.linear(
        nonlinear.units(_EXPANSION * width), width, nonlinear.layer_has_bias, f"{name}_hidden"
    )
    y = nonlinear(layer(x), f"{name}_hidden", f"{name}_hidden_norm", layer, "free_norm")
    return _dense(y, width, True, f"{name}_mixed", "free")


def _dense(
    x: jax.Array, size: int, with_bias: bool, name: str, kind: types.LayerKind = "hidden"
) -> jax.Array:
    return linear.linear(size, x.shape[-1], with_bias, name, kind=kind)(x)

"""Normalization of hidden layers; networks/nonlinearity.py puts it into torsos and heads."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, settings, types
from networks import declared, few_kernel_norm


@dataclasses.dataclass(frozen=True)
class Normalization:
    """The norm of each hidden layer: the section `network.norm`."""

    kind: Literal["none", "layer", "rms"] = settings.key(
        "none",
        checks.one_of("none", "layer", "rms"),
        "none, LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019)",
        "DQN Zoo",
    )
    position: Literal["pre", "post"] = settings.key(
        "pre",
        checks.one_of("pre", "post"),
        "before the nonlinearity, or after it, where a ReLU that is off gets no gradient",
        "Lyle et al. 2024",
    )
    axes: Literal["all", "channels"] = settings.key(
        "all",
        checks.one_of("all", "channels"),
        "over which axes of a convolution's [B, H, W, C] the statistics run: all but the batch's, "
        "or the channels alone; a dense layer has one axis anyway",
        "the NaP paper does not say",
    )
    epsilon: float = settings.key(
        1e-5,
        checks.number(0, open_low=True),
        "added to the variance (or mean square) under the root",
    )
    affine: bool = settings.key(
        True,
        checks.boolean(),
        "whether a learned scale per channel follows, and for LayerNorm an offset",
    )
    keep_bias: bool = settings.key(
        False,
        checks.boolean(),
        "whether layers that a norm follows keep their biases; without them each is exactly "
        "scale-invariant in its weights alone, and the offset does the biases' work",
        "Lyle et al. 2024",
    )

    statistics: Literal["learned", "constant"] = settings.key(
        "learned",
        checks.one_of("learned", "constant"),
        "whether gradients go through mean and variance; constant: the same numbers forward, for "
        "experiments on what that does",
        "Ba et al. 2016",
    )

    @property
    def is_active(self) -> bool:
        """Whether there is a norm at all."""
        return self.kind != "none"

    @property
    def layer_has_bias(self) -> bool:
        """Whether the linear or convolutional layer before the norm has biases."""
        return self.keep_bias or not self.is_active

    def __call__(
        self, x: jax.Array, name: str, role: types.LayerKind = "norm", few_kernels: bool = False
    ) -> tuple[jax.Array, hk.Module | None]:
        """Normalizes x [B, ..., C] in a Haiku module called `name`.

        Args:
          x: pre-activations, or features with position "post".
          name: of the module, and of its parameters.
          role: "free_norm" for one that feeds an output layer, whose scale matters.
          few_kernels: whether an affine LayerNorm is networks/few_kernel_norm.py's.

        Returns:
          x normalized, and the module if it has parameters.
        """
        if self.kind == "none":
            return x, None
        axis = slice(1, None) if self.axes == "all" else -1
        if self.statistics == "constant":
            norm = _ConstantStatistics(self, name)
        elif self.kind == "layer" and self.affine and few_kernels:
            norm = few_kernel_norm.LayerNorm(axis, self.epsilon, name)
        elif self.kind == "layer":
            norm = hk.LayerNorm(
                axis, self.affine, self.affine, eps=self.epsilon, param_axis=-1, name=name
            )
        else:
            norm = hk.RMSNorm(
                axis, eps=self.epsilon, create_scale=self.affine, param_axis=-1, name=name
            )
        if self.affine:
            self._declare(norm, role)
        return norm(x), norm if self.affine else None

    def side_by_side(
        self, x: jax.Array, names: Sequence[str], role: types.LayerKind
    ) -> tuple[jax.Array, Sequence[hk.Module | None]]:
        """Normalizes x [B, S, C], a norm for each of S; as a call for each of them."""
        if self.kind == "none":
            return x, [None] * len(names)
        if self.kind != "layer" or not self.affine or self.statistics == "constant":
            each = [self(x[:, i], name, role, True) for i, name in enumerate(names)]
            return jnp.stack([y for y, _ in each], 1), [norm for _, norm in each]
        norms = [few_kernel_norm.LayerNorm(-1, self.epsilon, name) for name in names]
        for norm in norms:
            self._declare(norm, role)
        return few_kernel_norm.normalize_each(x, norms, self.epsilon), norms

    def _declare(self, norm: hk.Module, role: types.LayerKind) -> None:
        offset = ("offset",) if self.kind == "layer" else ()
        declared.declare(norm, role, ("scale",), offset)


class _ConstantStatistics(hk.Module):
    """Haiku's LayerNorm or RMSNorm, with the same parameters, whose statistics have no gradient."""

    def __init__(self, chosen: Normalization, name: str):
        super().__init__(name=name)
        self._chosen = chosen

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, ..., C] to the same."""
        chosen, is_layer_norm = self._chosen, self._chosen.kind == "layer"
        axis = tuple(range(1, x.ndim)) if chosen.axes == "all" else -1
        constant = jax.lax.stop_gradient(x)
        mean = jnp.mean(constant, axis, keepdims=True) if is_layer_norm else jnp.zeros_like(x)
        square = jnp.mean(jnp.square(constant - mean), axis, keepdims=True)
        y = (x - mean) * jax.lax.rsqrt(square + chosen.epsilon)
        if chosen.affine:
            scale = hk.get_parameter("scale", x.shape[-1:], init=jnp.ones)
            y = y * jnp.broadcast_to(scale, y.shape)
        if chosen.affine and is_layer_norm:
            offset = hk.get_parameter("offset", x.shape[-1:], init=jnp.zeros)
            y = y + jnp.broadcast_to(offset, y.shape)
        return y

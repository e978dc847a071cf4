"""Normalization before a nonlinearity, as a plug-in point of every torso and head."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import haiku as hk
import jax

from core import checks

CHECKS: Mapping[str, checks.Check] = {
    "kind": checks.one_of("none", "layer", "rms"),
    "axes": checks.one_of("all", "channels"),
    "epsilon": checks.number(0, open_low=True),
    "affine": checks.boolean(),
    "keep_bias": checks.boolean(),
}


@dataclasses.dataclass(frozen=True)
class Normalization:
    """What stands before each nonlinearity.

    Attributes:
      kind: "none", "layer" (LayerNorm, Ba et al. 2016) or "rms" (RMSNorm, Zhang & Sennrich 2019).
      axes: over which axes of a convolution's [B, H, W, C] the statistics run: "all" but the
        batch's, or "channels" only. The NaP paper does not say; a dense layer has one axis anyway.
      epsilon: added to the variance (or mean square) under the root.
      affine: whether a learned scale per channel follows, and for LayerNorm an offset.
      keep_bias: whether layers followed by the norm keep their own biases; without them each is
        exactly scale-invariant in its weights alone, and the offset does the biases' work.
    """

    kind: str = "none"
    axes: str = "all"
    epsilon: float = 1e-5
    affine: bool = True
    keep_bias: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Normalization":
        """Builds it from the section `network.norm`; raises ConfigError for a bad value."""
        checks.verify("network.norm", config, CHECKS)
        return cls(**config)

    @property
    def is_active(self) -> bool:
        """Whether there is a norm at all."""
        return self.kind != "none"

    @property
    def layer_has_bias(self) -> bool:
        """Whether the linear or convolutional layer before the norm has biases."""
        return self.keep_bias or not self.is_active

    def __call__(self, x: jax.Array, name: str) -> jax.Array:
        """Normalizes pre-activations [B, ..., C] in a Haiku module called `name`."""
        if self.kind == "none":
            return x
        axis = slice(1, None) if self.axes == "all" else -1
        if self.kind == "layer":
            norm = hk.LayerNorm(
                axis, self.affine, self.affine, eps=self.epsilon, param_axis=-1, name=name
            )
        else:
            norm = hk.RMSNorm(
                axis, eps=self.epsilon, create_scale=self.affine, param_axis=-1, name=name
            )
        return norm(x)

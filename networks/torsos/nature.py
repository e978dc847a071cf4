"""The torso of DQN (Mnih et al. 2015)."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from core import checks
from networks import convolution, normalization

CHECKS = {
    "module": checks.one_of("nature"),
    "formulation": checks.one_of("matmul", "lax"),
}

_LAYERS = (
    convolution.Layer(channels=32, size=8, stride=4),
    convolution.Layer(channels=64, size=4, stride=2),
    convolution.Layer(channels=64, size=3, stride=1),
)


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
    return convolution.make_torso("nature", _LAYERS, norm, config["formulation"])

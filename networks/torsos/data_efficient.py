"""The small torso of data-efficient Rainbow (van Hasselt et al. 2019, arXiv 1906.05243)."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from core import checks
from networks import convolution, normalization

CHECKS = {
    "module": checks.one_of("data_efficient"),
    "formulation": checks.one_of("matmul", "lax"),
}

_LAYERS = (
    convolution.Layer(channels=32, size=5, stride=5),
    convolution.Layer(channels=64, size=5, stride=5),
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
    return convolution.make_torso("data_efficient", _LAYERS, norm, config["formulation"])

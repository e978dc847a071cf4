"""The small torso of data-efficient Rainbow (van Hasselt et al. 2019, arXiv 1906.05243)."""

import dataclasses
from collections.abc import Callable

import jax

from core import checks, settings
from networks import convolution, nonlinearity


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.torso`."""

    module: str = settings.key("data_efficient", checks.one_of("data_efficient"), "this torso")
    formulation: str = convolution.formulation_key()


_LAYERS = (
    convolution.ConvolutionLayer(channels=32, size=5, stride=5),
    convolution.ConvolutionLayer(channels=64, size=5, stride=5),
)


def make(
    config: Settings, nonlinear: nonlinearity.Nonlinearity
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: frame stacks uint8 [B, S, H, W] to features float32 [B, F].

    Args:
      config: its section.
      nonlinear: follows each layer.
    """
    return convolution.make_torso("data_efficient", _LAYERS, nonlinear, config.formulation)

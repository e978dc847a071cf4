"""The torso of DQN (Mnih et al. 2015)."""

import dataclasses
from collections.abc import Callable

import jax

from core import checks, settings
from networks import convolution, nonlinearity


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.torso`."""

    module: str = settings.key("nature", checks.one_of("nature"), "this torso")
    formulation: str = convolution.formulation_key()


_LAYERS = (
    convolution.ConvolutionLayer(channels=32, size=8, stride=4),
    convolution.ConvolutionLayer(channels=64, size=4, stride=2),
    convolution.ConvolutionLayer(channels=64, size=3, stride=1),
)


def make(
    config: Settings, nonlinear: nonlinearity.Nonlinearity
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: frame stacks uint8 [B, S, H, W] to features float32 [B, F].

    Args:
      config: its section.
      nonlinear: follows each layer.
    """
    return convolution.make_torso("nature", _LAYERS, nonlinear, config.formulation)

"""A small convolutional torso for pictures of a few dozen pixels, as MNIST and CIFAR-10 have."""

import dataclasses
from collections.abc import Callable

import jax

from core import checks, settings
from networks import convolution, nonlinearity


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.torso`."""

    module: str = settings.key("cnn", checks.one_of("cnn"), "this torso")
    channels: tuple[int, ...] = settings.key(
        (16, 32), checks.each(checks.integer(1)), "of each convolution, 4 x 4 with a stride of 2"
    )
    formulation: str = convolution.formulation_key()


def make(
    config: Settings, nonlinear: nonlinearity.Nonlinearity
) -> Callable[[jax.Array], jax.Array]:
    """Returns the torso: pictures uint8 [B, S, H, W] to features float32 [B, F].

    Args:
      config: its section.
      nonlinear: follows each layer.
    """
    layers = [convolution.ConvolutionLayer(channels, 4, 2) for channels in config.channels]
    return convolution.make_torso("cnn", layers, nonlinear, config.formulation)

"""The network of value-based agents: a torso, norms, and a head for the actions' values."""

import dataclasses
from typing import Any

import haiku as hk
import jax

from core import plugins, settings
from networks import activations, injecting, nonlinearity, normalization, spectral_normalization
from networks.heads import action_values


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network`."""

    torso: Any = settings.plugin("networks.torsos", "nature")
    norm: normalization.Normalization = settings.section(normalization.Normalization)
    activation: activations.Settings = settings.section(activations.Settings)
    head: action_values.Settings = settings.section(action_values.Settings)
    spectral_norm: spectral_normalization.Settings = settings.section(
        spectral_normalization.Settings
    )
    injection: injecting.Settings = settings.section(injecting.Settings)


def make(
    network: Settings, num_actions: int, size: int, few_kernels: bool = False
) -> hk.Transformed:
    """Builds the network: (observations [B, ...], noise per sample) -> [B, num_actions, size].

    Args:
      network: the section.
      num_actions: A.
      size: numbers for each action.
      few_kernels: whether norms and the head are written for few kernels.
    """
    nonlinear = nonlinearity.Nonlinearity(network.norm, network.activation, few_kernels=few_kernels)
    head = action_values.ActionValueHead(network.head, num_actions, size, nonlinear)

    def forward(observations: jax.Array, per_sample_noise: bool) -> jax.Array:
        return injecting.between(
            lambda: make_torso(network.torso, nonlinear)(observations),
            lambda features: head(features, per_sample_noise),
            network.injection,
        )

    return hk.transform(spectral_normalization.apply(network.spectral_norm, forward))


def make_torso(torso: Any, nonlinear: nonlinearity.Nonlinearity):
    """The torso, observations [B, ...] to features float32 [B, F], inside a Haiku transform."""
    module = plugins.find("networks.torsos", torso.module, "network.torso.module")
    return module.make(torso, nonlinear)

"""The head of value-based agents: from features to one or several numbers for each action."""

import dataclasses
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp

from core import checks, settings, types
from networks import linear, nonlinearity


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.head`."""

    hidden_size: int = settings.key(
        512, checks.integer(1), "width of the hidden layer of each stream", "DQN Zoo"
    )
    dueling: bool = settings.key(
        True,
        checks.boolean(),
        "value and advantage streams, joined before the softmax (Wang et al. 2016), or one stream",
        "DQN Zoo's Rainbow",
    )
    noisy: bool = settings.key(
        True,
        checks.boolean(),
        "noisy linear layers (Fortunato et al. 2018) or plain ones",
        "DQN Zoo's Rainbow",
    )
    noisy_sigma: float = settings.key(
        0.1,
        checks.number(0),
        "initial sigma times sqrt(fan_in)",
        "DQN Zoo; 0.5 in Hessel et al. 2018",
    )
    shared_bias: bool = settings.key(
        False,
        checks.boolean(),
        "one output bias for all actions (with several numbers for each action: one for each of "
        "them), or each action's own; with one plain stream",
        "DQN Zoo's Double DQN and Prioritized DQN: true",
    )
    noise: Literal["shared", "per_sample"] = settings.key(
        "shared",
        checks.one_of("shared", "per_sample"),
        "in updates: one draw of the noise for the whole batch, or one per row",
        "DQN Zoo",
    )
    acting_noise: Literal["shared", "per_sample"] = settings.key(
        "per_sample",
        checks.one_of("shared", "per_sample"),
        "in acting: one draw for all environments, or one for each",
        "ours; DQN Zoo acts in one environment",
    )

    def __post_init__(self):
        """Raises ConfigError for a shared bias where there is no place for it."""
        if self.shared_bias and (self.dueling or self.noisy):
            raise checks.ConfigError(
                "network.head.shared_bias = True: expected dueling = False and noisy = False"
            )


@dataclasses.dataclass(frozen=True)
class ActionValueHead:
    """A hidden layer and an output layer, or two such streams, plain or noisy.

    Module names: {value,advantage}_{hidden,norm,output} with dueling, action_* without.

    Attributes:
      settings: the section.
      num_actions: A.
      size: K, numbers for each action: 1 for a value, the atoms of a distribution.
      nonlinear: follows the hidden layer.
    """

    settings: Settings
    num_actions: int
    size: int
    nonlinear: nonlinearity.Nonlinearity

    def __call__(self, features: jax.Array, per_sample_noise: bool = False) -> jax.Array:
        """Maps features [B, F] to [B, A, K].

        Args:
          features: the torso's output.
          per_sample_noise: one draw of noise per row instead of one for the batch.
        """
        chex.assert_rank(features, 2)
        outputs = self._outputs(features, per_sample_noise)
        return outputs.reshape(features.shape[0], self.num_actions, self.size)

    def _outputs(self, x: jax.Array, per_sample: bool) -> jax.Array:
        if not self.settings.dueling:
            return self._stream(x, "action", self.num_actions * self.size, per_sample)
        value = self._stream(x, "value", self.size, per_sample)[:, None]
        advantage = self._stream(x, "advantage", self.num_actions * self.size, per_sample)
        advantage = advantage.reshape(-1, self.num_actions, self.size)
        return value + advantage - jnp.mean(advantage, axis=1, keepdims=True)

    def _stream(self, x: jax.Array, name: str, size: int, per_sample: bool) -> jax.Array:
        """A hidden layer and an output layer; DQN Zoo's noisy outputs have no mu bias."""
        has_bias = self.nonlinear.layer_has_bias
        units = self.nonlinear.units(self.settings.hidden_size)
        hidden = f"{name}_hidden"
        layer = self._linear(x, units, (has_bias, has_bias), per_sample, hidden, "hidden")
        x = self.nonlinear(layer(x), hidden, f"{name}_norm", layer, "free_norm")
        output = f"{name}_output"
        if self.settings.shared_bias:
            return linear.SharedBiasLinear(self.num_actions, self.size, output, "output")(x)
        biases = (not self.settings.noisy, True)
        return self._linear(x, size, biases, per_sample, output, "output")(x)

    def _linear(
        self,
        x: jax.Array,
        size: int,
        biases: tuple[bool, bool],
        per_sample: bool,
        name: str,
        kind: types.LayerKind,
    ) -> Any:
        """A layer for inputs like x, with or without biases for its mean and its noise."""
        mu_bias, sigma_bias = biases
        if not self.settings.noisy:
            return linear.linear(size, x.shape[-1], mu_bias, name, kind)
        sigma = self.settings.noisy_sigma
        return linear.NoisyLinear(size, sigma, mu_bias, sigma_bias, per_sample, name, kind)

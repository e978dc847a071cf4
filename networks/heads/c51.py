"""Heads: from a torso's features to values of actions."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from core import checks
from networks import linear, normalization

CHECKS = {
    "hidden_size": checks.integer(1),
    "dueling": checks.boolean(),
    "noisy": checks.boolean(),
    "noisy_sigma": checks.number(0),
    "noise": checks.one_of("shared", "per_sample"),
    "acting_noise": checks.one_of("shared", "per_sample"),
}


class C51Output(NamedTuple):
    """Logits [B, A, atoms] of the return's distribution, and their means, q-values [B, A]."""

    q_values: jax.Array
    q_logits: jax.Array


@dataclasses.dataclass(frozen=True)
class C51Head:
    """The head of Rainbow: distributional (Bellemare et al. 2017), dueling, noisy.

    Module names: {value,advantage}_{hidden,norm,output} with dueling, action_* without.

    Attributes:
      num_actions: A.
      hidden_size: width of the hidden layer of each stream.
      dueling: value and advantage streams, joined as logits (Wang et al. 2016), or one stream.
      noisy: noisy linear layers (Fortunato et al. 2018) or plain ones.
      noisy_sigma: initial sigma times sqrt(fan_in); DQN Zoo has 0.1, the Rainbow paper 0.5.
      norm: what stands before the hidden nonlinearity.
    """

    num_actions: int
    hidden_size: int
    dueling: bool
    noisy: bool
    noisy_sigma: float
    norm: normalization.Normalization

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], num_actions: int, norm: normalization.Normalization
    ) -> "C51Head":
        """Builds it from the section `network.head`; raises ConfigError for a bad value."""
        checks.verify("network.head", config, CHECKS)
        keys = ("hidden_size", "dueling", "noisy", "noisy_sigma")
        return cls(num_actions=num_actions, norm=norm, **{key: config[key] for key in keys})

    def __call__(
        self, features: jax.Array, atoms: jax.Array, per_sample_noise: bool = False
    ) -> C51Output:
        """Maps features [B, F] to the distribution over `atoms` [atoms] for each action.

        Args:
          features: what the torso gave.
          atoms: the support of the return's distribution.
          per_sample_noise: one draw of noise per row instead of one for the batch.
        """
        chex.assert_rank([features, atoms], [2, 1])
        num_atoms = atoms.shape[0]
        outputs = self._logits(features, num_atoms, per_sample_noise)
        logits = outputs.reshape(features.shape[0], self.num_actions, num_atoms)
        # A sum, not a product of matrices, which has fewer bits on some GPUs (config.precision).
        q_values = jnp.sum(jax.nn.softmax(logits) * atoms[None, None], axis=-1)
        return C51Output(q_values, logits)

    def _logits(self, x: jax.Array, num_atoms: int, per_sample: bool) -> jax.Array:
        if not self.dueling:
            return self._stream(x, "action", self.num_actions * num_atoms, per_sample)
        value = self._stream(x, "value", num_atoms, per_sample)[:, None]
        advantage = self._stream(x, "advantage", self.num_actions * num_atoms, per_sample)
        advantage = advantage.reshape(-1, self.num_actions, num_atoms)
        return value + advantage - jnp.mean(advantage, axis=1, keepdims=True)

    def _stream(self, x: jax.Array, name: str, size: int, per_sample: bool) -> jax.Array:
        """A hidden layer and an output layer; DQN Zoo's noisy outputs have no mu bias."""
        x = self._linear(
            x, self.hidden_size, self.norm.layer_has_bias, per_sample, f"{name}_hidden"
        )
        x = jax.nn.relu(self.norm(x, f"{name}_norm"))
        return self._linear(x, size, not self.noisy, per_sample, f"{name}_output", True)

    def _linear(
        self,
        x: jax.Array,
        size: int,
        with_bias: bool,
        per_sample: bool,
        name: str,
        sigma_bias: bool | None = None,
    ) -> jax.Array:
        if not self.noisy:
            return linear.linear(size, x.shape[-1], with_bias, name)(x)
        sigma_bias = with_bias if sigma_bias is None else sigma_bias
        layer = linear.NoisyLinear(
            size, self.noisy_sigma, with_bias, sigma_bias, per_sample, name=name
        )
        return layer(x)

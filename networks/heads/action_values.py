"""The head of value-based agents: from features to one or several numbers for each action."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np

from core import checks, settings, types
from networks import declared, linear, nonlinearity
from networks.heads import noisy_streams

# Columns of a product are filled up to a multiple of this on NVIDIA's GPUs.
_ALIGNMENT = 16


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
      nonlinear: follows the hidden layer. If it is written for few kernels, noisy layers of both
        streams that share a draw are one product for the hidden ones and one for the output.
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
        sizes = {"value": self.size, "advantage": self.num_actions * self.size}
        if self.nonlinear.few_kernels and self.settings.noisy and not per_sample:
            value, advantage = self._joined_streams(x, sizes)
        else:
            value, advantage = (self._stream(x, *stream, per_sample) for stream in sizes.items())
        value, advantage = value[:, None], advantage.reshape(-1, self.num_actions, self.size)
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

    def _joined_streams(self, x: jax.Array, sizes: Mapping[str, int]) -> Sequence[jax.Array]:
        """The outputs of noisy streams, by name their sizes, from two products for all of them."""
        has_bias = self.nonlinear.layer_has_bias
        units = self.nonlinear.units(self.settings.hidden_size)
        num_features = self.nonlinear.activation.features(units)
        hidden, outputs = [], []
        # Weights first, and stream by stream, so that each draws the noise it would draw alone.
        for name, size in sizes.items():
            layer = self._linear(x, units, (has_bias, has_bias), False, f"{name}_hidden", "hidden")
            hidden.append((layer, layer.parts(x.shape[1])))
            layer = self._linear(x, size, (False, True), False, f"{name}_output", "output")
            outputs.append((layer, layer.parts(num_features)))
            declared.reads(hidden[-1][0], x)
        (layers, of_hidden), (readers, of_outputs) = zip(*hidden), zip(*outputs)
        # In the order of their names, in which their weights lie in memory.
        order = np.argsort(list(sizes))
        y = noisy_streams.product(x, [of_hidden[i] for i in order])[:, np.argsort(order)]
        names, norm_names = ([f"{name}_{part}" for name in sizes] for part in ("hidden", "norm"))
        features = self.nonlinear.side_by_side(y, names, norm_names, layers, readers, "free_norm")
        return _block_diagonal(features.reshape(x.shape[0], -1), of_outputs)

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


def _block_diagonal(x: jax.Array, layers: Sequence[linear.NoisyParts]) -> Sequence[jax.Array]:
    """The outputs of layers for an equal share of x [B, I] each, from one product."""
    sizes = [parts.mu.shape[1] for parts in layers]
    # XLA would fill the columns up itself, in a kernel of its own.
    width = -(-sum(sizes) // _ALIGNMENT) * _ALIGNMENT
    num_rows = x.shape[1] // len(layers)
    weight, column = 0.0, 0
    for i, (parts, size) in enumerate(zip(layers, sizes)):
        above, below = i * num_rows, (len(layers) - 1 - i) * num_rows
        around = ((above, below), (column, width - column - size))
        # A sum, which is one kernel, where rows put together were several.
        weight = weight + jnp.pad(parts.weight, around)
        column += size
    bias = jnp.concatenate([parts.bias for parts in layers], axis=1)
    y = x @ weight + jnp.pad(bias, ((0, 0), (0, width - sum(sizes))))
    ends = np.cumsum(sizes)
    return [y[:, end - size : end] for end, size in zip(ends, sizes)]

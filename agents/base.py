"""The Agent contract: an algorithm as pure functions, without threads, files or replay."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from dm_env import specs

from core import plugins
from replay import base as replay_base

Params = Any


class LossOutput(NamedTuple):
    """What a loss tells besides its value.

    Attributes:
      priorities: float32 [B] >= 0, for the sampled transitions.
      metrics: scalars by name, for the log.
    """

    priorities: jax.Array
    metrics: Mapping[str, jax.Array]


class Agent(NamedTuple):
    """A value-based agent.

    Attributes:
      init: (rng, observations [B, ...]) -> params.
      act: (params, rng, observations [N, ...]) -> actions int32 [N]; how it behaves in training.
      act_in_evaluation: the same, for evaluation.
      loss: (params, target_params, rng, transitions, weights [B]) -> scalar loss, LossOutput.
      apply: (params, rng, observations [B, ...]) -> the network's output, for analysis.
    """

    init: Callable[[jax.Array, jax.Array], Params]
    act: Callable[[Params, jax.Array, jax.Array], jax.Array]
    act_in_evaluation: Callable[[Params, jax.Array, jax.Array], jax.Array]
    loss: Callable[
        [Params, Params, jax.Array, replay_base.Transition, jax.Array],
        tuple[jax.Array, LossOutput],
    ]
    apply: Callable[[Params, jax.Array, jax.Array], Any]


def make(config: Any, action_spec: specs.DiscreteArray) -> Agent:
    """Builds the agent that `agents/<config.agent.module>.py` describes.

    Raises:
      ConfigError: if there is no such module, a key is unknown or a value out of range.
    """
    return plugins.find("agents", config.agent.module, "agent.module").make(config, action_spec)

"""How transitions are weighted in an update, and their priorities after it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from agents import base as agents_base
from core import checks
from replay import base as replay_base
from replay import importance


@dataclasses.dataclass(frozen=True)
class Prioritizing:
    """Of a replay with priorities.

    Attributes:
      schedule: of the importance weights' exponent.
      max_priority: upper bound of new priorities.
    """

    schedule: importance.ImportanceSchedule
    max_priority: float


def make(replay: Any) -> Prioritizing | None:
    """From the parsed section `replay`; None for a replay without priorities."""
    if not hasattr(replay, "priority_exponent"):
        return None
    schedule = importance.ImportanceSchedule(
        begin=replay.importance_exponent,
        end=replay.importance_exponent_end,
        begin_steps=replay.min_size,
        end_steps=replay.importance_exponent_end_steps,
    )
    return Prioritizing(schedule, replay.max_priority)


def check_agent(settings: Any, metric_names: Sequence[str]) -> None:
    """Raises ConfigError if the replay asks for priorities that the agent does not give.

    Args:
      settings: of the run.
      metric_names: of an update.
    """
    if make(settings.replay) is not None and "priority" not in metric_names:
        raise checks.ConfigError(
            f"replay.module = {settings.replay.module!r}: expected 'uniform', as agent.module = "
            f"{settings.agent.module!r} gives no priorities"
        )


def update(
    agent_update: Callable[..., agents_base.Updated],
    prioritizing: Prioritizing | None,
    state: Any,
    rng: jax.Array,
    transition: replay_base.Transition,
    weights: jax.Array,
) -> agents_base.Updated:
    """The agent's update, its priorities clipped and their mean among the metrics."""
    updated = agent_update(state, rng, transition, weights)
    if prioritizing is None or updated.priorities is None:
        return updated._replace(priorities=None)
    priorities = jnp.minimum(updated.priorities, prioritizing.max_priority)
    metrics = {**updated.metrics, "priority": jnp.mean(priorities)}
    return updated._replace(priorities=priorities, metrics=metrics)


def weigh(
    prioritizing: Prioritizing | None, probabilities: jax.Array, steps: jax.Array
) -> jax.Array:
    """The importance weights float32 [B] of transitions drawn with these probabilities [B].

    Args:
      prioritizing: None: all weights are 1.
      probabilities: with which they were drawn.
      steps: added to the replay since the schedule began, int32 [].
    """
    if prioritizing is None:
        return jnp.ones_like(probabilities)
    return importance.weights(probabilities, prioritizing.schedule(steps))

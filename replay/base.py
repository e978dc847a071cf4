"""The replay contract: what a learner may ask of any replay."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from core import checks, settings, types

if TYPE_CHECKING:  # processes that only decode need not wait for it
    import jax
    import numpy as np
    from dm_env import specs

State = Any

Transition = types.Transition
Step = types.Step


@dataclasses.dataclass(frozen=True)
class TransitionSettings:
    """How an environment's steps become transitions: the section `transition`."""

    frame_stack: int = settings.key(
        4,
        checks.integer(0),
        "frames of an observation that an agent sees; 0: observations are no frames and are left "
        "as they are",
        "DQN Zoo",
    )
    n_step: int = settings.key(3, checks.integer(1), "n of the returns", "DQN Zoo's Rainbow")
    discount: float = settings.key(
        0.99, checks.number(0, 1), "gamma, applied at every agent step", "DQN Zoo"
    )
    max_abs_reward: float = settings.key(
        1.0, checks.number(0), "to which rewards are clipped; 0: they are not", "DQN Zoo"
    )


@dataclasses.dataclass(frozen=True)
class TransitionSpec:
    """The transitions that a replay builds from steps.

    Attributes:
      observation: one environment's newest observation.
      num_envs: N, environments whose steps are added together.
      frame_stack: S, frames per observation given to the agent; 0 for vectors, left as they are.
      n_step: n of the returns.
      discount: gamma, applied at every step.
    """

    observation: specs.Array
    num_envs: int
    frame_stack: int
    n_step: int
    discount: float

    @classmethod
    def make(
        cls, chosen: TransitionSettings, observation: specs.Array, num_envs: int
    ) -> TransitionSpec:
        """The spec of the section `transition`, for N environments' observations."""
        return cls(observation, num_envs, chosen.frame_stack, chosen.n_step, chosen.discount)


class Sample(NamedTuple):
    """A batch of transitions, and what is needed to weight and re-prioritize it.

    Attributes:
      transition: the batch.
      keys: int32 [B], the insert's number; never reused for another transition.
      probabilities: float32 [B], each transition's sampling probability.
      size: int32 [], how many transitions could have been drawn.
    """

    transition: Transition
    keys: jax.Array
    probabilities: jax.Array
    size: jax.Array


class Rows(NamedTuple):
    """The part of a state that is large and only grows: snapshots share it in blocks.

    Attributes:
      array: [..., C, ...] of time-major rows, with row r at r % C; or its shape.
      num_rows: how many were ever added, int32 [].
    """

    array: Any
    num_rows: Any


class Replay(Protocol):
    """A replay of n-step transitions as pure functions of a state."""

    @property
    def has_priorities(self) -> bool:
        """Whether transitions are drawn by their priorities."""
        ...

    @property
    def seed_axes(self) -> State:
        """The vmap axes of the state over independent seeds: 0, or None for what they share."""
        ...

    def init(self) -> State:
        """An empty replay."""
        ...

    def add(self, state: State, step: Step) -> State:
        """Appends one step of every environment; transitions become available n steps later."""
        ...

    def num_added(self, state: State) -> jax.Array:
        """Steps ever added, over all environments, int32 []."""
        ...

    def size(self, state: State) -> jax.Array:
        """How many transitions can be sampled, int32 []."""
        ...

    def sample(self, state: State, rng: jax.Array, batch_size: int) -> Sample:
        """Draws `batch_size` transitions with replacement."""
        ...

    def sample_uniform(self, state: State, rng: jax.Array, batch_size: int) -> Sample:
        """Draws `batch_size` transitions with replacement, each with the same probability."""
        ...

    def update_priorities(self, state: State, keys: jax.Array, priorities: jax.Array) -> State:
        """Sets priorities [B]; keys of transitions that are gone are ignored.

        They must be finite and >= 0: one that is not makes all later draws meaningless. A run ends
        at the first (training/logs/interval.py), so a replay need not check them.
        """
        ...

    def cut(self, state: State) -> State:
        """Ends the environments' episodes at their newest step, as a truncation would."""
        ...

    def clear(self, state: State) -> State:
        """Forgets all transitions and priorities; the step count goes on, so no key is reused."""
        ...

    def rows(self, state: State) -> Rows:
        """The large part of a state; the state may hold arrays or their shapes."""
        ...

    def with_rows(self, state: State, array: np.ndarray | None) -> State:
        """The state with its large part replaced or removed."""
        ...

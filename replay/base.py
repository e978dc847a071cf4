"""The replay contract: what a learner may ask of any backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:  # processes that only decode need not wait for it
    import jax

State = Any


class Transition(NamedTuple):
    """An n-step transition, batched [B, ...].

    Attributes:
      s_tm1: observations (frame stacks uint8 [B, S, H, W], or vectors).
      a_tm1: actions int32 [B].
      r_t: discounted n-step returns float32 [B].
      discount_t: the product of the discounts on the way, gamma**n unless the episode ended.
      s_t: observations to bootstrap from, n steps later or the last of a truncated episode.
    """

    s_tm1: jax.Array
    a_tm1: jax.Array
    r_t: jax.Array
    discount_t: jax.Array
    s_t: jax.Array


class Sample(NamedTuple):
    """A batch of transitions, and what their weighting and re-prioritizing needs.

    Attributes:
      transition: the batch.
      keys: int32 [B], the number of the insert; never used again for another transition.
      probabilities: float32 [B], with which each was drawn.
      size: int32 [], how many transitions could have been drawn.
    """

    transition: Transition
    keys: jax.Array
    probabilities: jax.Array
    size: jax.Array


class Step(NamedTuple):
    """One step of every lane: a time step and the action chosen on it, each [N, ...].

    Attributes:
      observation: the newest observation (one frame, not a stack).
      is_first: bool, whether it starts an episode.
      is_last: bool, whether it ends one; its action is ignored.
      reward: float32, what arrived with the observation, as the learner shall see it.
      discount: float32, likewise; 0 at a termination or a reported loss of life.
      action: int32, chosen on the observation.
    """

    observation: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    reward: jax.Array
    discount: jax.Array
    action: jax.Array


class Replay(Protocol):
    """Prioritized replay of n-step transitions as pure functions of a state."""

    @property
    def seed_axes(self) -> State:
        """The vmap axes of the state over independent seeds: 0, or None for what they share."""
        ...

    def init(self) -> State:
        """An empty replay."""
        ...

    def add(self, state: State, step: Step) -> State:
        """Appends one step of every lane; transitions become available n steps later."""
        ...

    def num_added(self, state: State) -> jax.Array:
        """Steps ever added, over all lanes, int32 []."""
        ...

    def size(self, state: State) -> jax.Array:
        """How many transitions can be sampled, int32 []."""
        ...

    def sample(self, state: State, rng: jax.Array, batch_size: int) -> Sample:
        """Draws `batch_size` transitions with replacement, by priority**exponent."""
        ...

    def update_priorities(self, state: State, keys: jax.Array, priorities: jax.Array) -> State:
        """Sets priorities [B]; keys of transitions that are gone are ignored.

        They must be finite and >= 0: with one that is not, the draws mean nothing any more. A run
        ends at the first (training.learning.update.FINITE), so a replay need not check them.
        """
        ...

    def cut(self, state: State) -> State:
        """Ends the lanes' episodes at their newest step, as a truncation would."""
        ...

    def clear(self, state: State) -> State:
        """Forgets all transitions and priorities; steps are counted on, so no key comes twice."""
        ...

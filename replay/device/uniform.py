"""Uniform replay (Lin 1992; Mnih et al. 2015) that lives on the learner's device.

The storage is a ring of steps. Beside it, a ring of the transitions that can be sampled, in the
order in which they became ready, so that a draw is one random number and no tree is needed.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core import checks, settings
from replay import base
from replay.device import frame_ring, size


@dataclasses.dataclass(frozen=True)
class Settings(size.SizeSettings):
    """The section `replay`."""

    module: str = settings.key("uniform", checks.one_of("uniform"), "this replay")

    def __post_init__(self):
        """Raises ConfigError if there would never be enough to learn from."""
        self.check_size()


class UniformState(NamedTuple):
    """The replay's arrays.

    Attributes:
      ring: of the steps.
      keys: int32 [C * N], a ring of keys row * N + environment of transitions that became ready.
      begin, end: int32 [], how many keys were ever dropped, and added: [begin, end) can be drawn.
    """

    ring: frame_ring.RingState
    keys: jax.Array
    begin: jax.Array
    end: jax.Array


@dataclasses.dataclass(frozen=True)
class UniformReplay:
    """The replay contract (replay.base.Replay) on one device, without priorities.

    Attributes:
      ring: the storage.
    """

    ring: frame_ring.FrameRing

    has_priorities = False

    @property
    def _num_envs(self) -> int:
        return self.ring.spec.num_envs

    @property
    def seed_axes(self) -> UniformState:
        """See replay.base.Replay."""
        all_own: Any = 0
        return UniformState(self.ring.seed_axes, all_own, all_own, all_own)

    def init(self) -> UniformState:
        """An empty replay."""
        return UniformState(
            ring=self.ring.init(),
            keys=jnp.zeros(self.ring.num_rows * self._num_envs, jnp.int32),
            begin=jnp.zeros((), jnp.int32),
            end=jnp.zeros((), jnp.int32),
        )

    def add(self, state: UniformState, step: base.Step) -> UniformState:
        """Writes one row, over the oldest when full; the transition n rows back becomes ready."""
        ring = self.ring.write(state.ring, step)
        row, is_ready = self.ring.ready(ring)
        # Ready ones go to the end of the ring of keys in order, others nowhere.
        places = state.end + jnp.cumsum(is_ready) - 1
        places = jnp.where(is_ready, places % state.keys.size, state.keys.size)
        new = row * self._num_envs + jnp.arange(self._num_envs)
        keys = state.keys.at[places].set(new, mode="drop")
        end = state.end + jnp.sum(is_ready, dtype=jnp.int32)
        # Those that lose a frame: at most N, the first in the ring of keys.
        oldest = ring.rows - self.ring.num_rows + self.ring.history + 1
        first = keys[(state.begin + jnp.arange(self._num_envs)) % keys.size]
        is_lost = (first < oldest * self._num_envs) & (
            state.begin + jnp.arange(self._num_envs) < end
        )
        begin = state.begin + jnp.sum(is_lost, dtype=jnp.int32)
        return UniformState(self.ring.count_row(ring), keys, begin, end)

    def num_added(self, state: UniformState) -> jax.Array:
        """Steps ever added, over all environments, int32 []."""
        return self.ring.num_added(state.ring)

    def size(self, state: UniformState) -> jax.Array:
        """How many transitions can be sampled, int32 []."""
        return state.end - state.begin

    def sample_uniform(self, state: UniformState, rng: jax.Array, batch_size: int) -> base.Sample:
        """Draws transitions, each with the same probability; the replay must hold at least one."""
        drawn = jax.random.randint(rng, (batch_size,), 0, self.size(state), jnp.int32)
        return self.at(state, drawn)

    def at(self, state: UniformState, places: jax.Array) -> base.Sample:
        """The transitions at places int32 [B], counted from the oldest that is left."""
        num_ready = self.size(state)
        keys = state.keys[(state.begin + places) % state.keys.size]
        row, env = keys // self._num_envs, keys % self._num_envs
        return base.Sample(
            transition=self.ring.transitions(state.ring, row, env),
            keys=keys,
            probabilities=jnp.full(keys.shape, 1.0, jnp.float32) / num_ready,
            size=num_ready,
        )

    sample = sample_uniform

    def update_priorities(
        self, state: UniformState, keys: jax.Array, priorities: jax.Array
    ) -> UniformState:
        """Changes nothing: there are none."""
        del keys, priorities
        return state

    def cut(self, state: UniformState) -> UniformState:
        """Marks the newest row as the last of its episodes: what follows does not continue them."""
        return state._replace(ring=self.ring.cut(state.ring))

    def clear(self, state: UniformState) -> UniformState:
        """Forgets all transitions. The row count goes on: no key is reused."""
        ring = state.ring._replace(cleared=state.ring.rows)
        return state._replace(ring=ring, begin=state.end)

    def rows(self, state: UniformState) -> base.Rows:
        """See replay.base.Replay."""
        return base.Rows(state.ring.observations, state.ring.rows)

    def with_rows(self, state: UniformState, array: Any) -> UniformState:
        """See replay.base.Replay."""
        return state._replace(ring=state.ring._replace(observations=array))


def make(chosen: Settings, spec: base.TransitionSpec, num_seeds: int = 1) -> UniformReplay:
    """Builds the replay that the section describes, for each of `num_seeds`.

    Raises:
      ConfigError: if the capacity does not fit the spec.
    """
    return UniformReplay(frame_ring.make(chosen.capacity, spec, num_seeds))

"""Prioritized replay (Schaul et al. 2016) that lives on the learner's device.

The storage is a ring of steps; a sum tree over it holds the priorities. A transition's key is
the insert number of its step, counted from the start of the run.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from core import checks, formulations, settings
from replay import base
from replay.device import frame_ring, size, sum_tree


@dataclasses.dataclass(frozen=True)
class Settings(size.SizeSettings):
    """The section `replay`."""

    module: str = settings.key("prioritized", checks.one_of("prioritized"), "this replay")
    priority_exponent: float = settings.key(
        0.5,
        checks.number(0),
        "omega: the probability is proportional to priority**omega",
        "DQN Zoo",
    )
    uniform_mix: float = settings.key(
        1e-3, checks.number(0, 1), "share of uniform draws", "DQN Zoo"
    )
    max_priority: float = settings.key(
        100.0, checks.number(0, open_low=True), "to which priorities are clipped", "DQN Zoo"
    )
    importance_exponent: float = settings.key(
        0.4, checks.number(0, 1), "of the importance weights when learning starts", "DQN Zoo"
    )
    importance_exponent_end: float = settings.key(
        1.0, checks.number(0, 1), "the same at the end of its linear course", "DQN Zoo"
    )
    importance_exponent_end_steps: int | None = settings.key(
        None,
        checks.integer(1),
        "agent steps after which that is reached; not given: those of the run, or of a task where "
        "task_switch.restart_importance is set",
        "DQN Zoo",
    )

    def __post_init__(self):
        """Raises ConfigError if there would never be enough to learn from."""
        self.check_size()


class PrioritizedState(NamedTuple):
    """The replay's arrays.

    Attributes:
      ring: of the steps.
      tree: priorities raised to the exponent.
      max_priority: float32 [], the largest priority seen; new transitions get it.
    """

    ring: frame_ring.RingState
    tree: sum_tree.SumTree
    max_priority: jax.Array


@dataclasses.dataclass(frozen=True)
class PrioritizedReplay:
    """The replay contract (replay.base.Replay) on one device.

    Attributes:
      ring: the storage.
      priority_exponent: omega; the probability is proportional to priority**omega.
      uniform_mix: share of uniform sampling.
      formulation: PALLAS of core/formulations.py, or any other.
    """

    ring: frame_ring.FrameRing
    priority_exponent: float
    uniform_mix: float
    formulation: str = formulations.REFERENCE

    has_priorities = True

    @property
    def _num_envs(self) -> int:
        return self.ring.spec.num_envs

    @property
    def seed_axes(self) -> PrioritizedState:
        """See replay.base.Replay."""
        tree: Any = 0
        return PrioritizedState(self.ring.seed_axes, tree, tree)

    @property
    def _tree_in_kernels(self) -> Any:
        """pallas_tree.py, or None."""
        if self.formulation != formulations.PALLAS:
            return None
        from replay.device import pallas_tree  # slow to import, and not for every JAX

        return pallas_tree

    def init(self) -> PrioritizedState:
        """An empty replay."""
        return PrioritizedState(
            ring=self.ring.init(),
            tree=sum_tree.init(self.ring.num_rows, self._num_envs),
            max_priority=jnp.ones((), jnp.float32),
        )

    def add(self, state: PrioritizedState, step: base.Step) -> PrioritizedState:
        """Writes one row, over the oldest when full; the transition n rows back becomes ready."""
        ring = self.ring.write(state.ring, step)
        state = state._replace(ring=ring)
        tree = self._advance_tree(state)
        return state._replace(tree=tree, ring=self.ring.count_row(ring))

    def _advance_tree(self, state: PrioritizedState) -> sum_tree.SumTree:
        """Admits the row whose n steps are now complete, and drops those that lost their frames.

        The new row itself waits for its n steps. The oldest rows can't be sampled: the frames
        before them, which their stacks would need, are overwritten.
        """
        newest = state.ring.rows
        ready, is_ready = self.ring.ready(state.ring)
        orphan = newest - self.ring.num_rows + self.ring.history
        rows = jnp.stack([ready, newest, orphan]) % self.ring.num_rows
        absent = jnp.zeros_like(is_ready)
        present = jnp.stack([is_ready, absent, absent])
        weight = state.max_priority**self.priority_exponent
        weights = jnp.broadcast_to(weight, present.shape)
        return sum_tree.set_rows(state.tree, rows, self._num_envs, weights, present)

    def num_added(self, state: PrioritizedState) -> jax.Array:
        """Steps ever added, over all environments, int32 []."""
        return self.ring.num_added(state.ring)

    def size(self, state: PrioritizedState) -> jax.Array:
        """How many transitions can be sampled, int32 []."""
        return jnp.sum(state.tree.counts)

    def sample(self, state: PrioritizedState, rng: jax.Array, batch_size: int) -> base.Sample:
        """Draws transitions by priority**exponent; the replay must hold at least one."""
        uniform = jax.random.uniform(rng, (2, batch_size))
        tree = self._tree_in_kernels or sum_tree
        leaves, probabilities = tree.sample(state.tree, uniform, self.uniform_mix)
        position, env = leaves // self._num_envs, leaves % self._num_envs
        age = (state.ring.rows - 1 - position) % self.ring.num_rows
        row = state.ring.rows - 1 - age
        return base.Sample(
            transition=self.ring.transitions(state.ring, row, env),
            keys=row * self._num_envs + env,
            probabilities=probabilities,
            size=self.size(state),
        )

    def sample_uniform(
        self, state: PrioritizedState, rng: jax.Array, batch_size: int
    ) -> base.Sample:
        """Draws transitions with the same probability each; the replay must hold at least one."""
        return dataclasses.replace(self, uniform_mix=1.0).sample(state, rng, batch_size)

    def update_priorities(
        self, state: PrioritizedState, keys: jax.Array, priorities: jax.Array
    ) -> PrioritizedState:
        """Sets the priorities [B] of transitions that are still there.

        A recycled slot has a newer row than the key says, so a late update can't reach it.
        """
        chex.assert_equal_shape([keys, priorities])
        num_rows, rows = self.ring.num_rows, state.ring.rows
        row, env = keys // self._num_envs, keys % self._num_envs
        leaves = (row % num_rows) * self._num_envs + env
        is_stored = (row > rows - 1 - num_rows) & (row < rows)
        if self._tree_in_kernels:
            tree, max_priority = self._tree_in_kernels.set_priorities(
                *state[1:], leaves, is_stored, priorities, self.priority_exponent
            )
            return state._replace(tree=tree, max_priority=max_priority)
        block_size = state.tree.present.shape[1]
        present = state.tree.present[leaves // block_size, leaves % block_size]
        is_live = present & is_stored
        leaves = jnp.where(is_live, leaves, state.tree.present.size)
        weights = priorities**self.priority_exponent
        largest = jnp.max(jnp.where(is_live, priorities, 0.0))
        return state._replace(
            tree=sum_tree.set_weights(state.tree, leaves, weights),
            max_priority=jnp.maximum(state.max_priority, largest),
        )

    def cut(self, state: PrioritizedState) -> PrioritizedState:
        """Marks the newest row as the last of its episodes: what follows does not continue them."""
        return state._replace(ring=self.ring.cut(state.ring))

    def clear(self, state: PrioritizedState) -> PrioritizedState:
        """Forgets all transitions and priorities. The row count goes on: no key is reused."""
        return PrioritizedState(
            ring=state.ring._replace(cleared=state.ring.rows),
            tree=sum_tree.init(self.ring.num_rows, self._num_envs),
            max_priority=jnp.ones((), jnp.float32),
        )

    def rows(self, state: PrioritizedState) -> base.Rows:
        """See replay.base.Replay."""
        return base.Rows(state.ring.observations, state.ring.rows)

    def with_rows(self, state: PrioritizedState, array: Any) -> PrioritizedState:
        """See replay.base.Replay."""
        return state._replace(ring=state.ring._replace(observations=array))


def make(chosen: Settings, spec: base.TransitionSpec, num_seeds: int = 1) -> PrioritizedReplay:
    """Builds the replay that the section describes, for each of `num_seeds`.

    Raises:
      ConfigError: if the capacity does not fit the spec.
    """
    ring = frame_ring.make(chosen.capacity, spec, num_seeds)
    return PrioritizedReplay(ring, chosen.priority_exponent, chosen.uniform_mix)

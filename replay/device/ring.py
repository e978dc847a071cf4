"""Prioritized replay that lives on the learner's device, in one pytree of arrays.

Time-major rings, one lane per environment. Each frame is stored once; stacks and n-step
returns are put together when a transition is sampled. A transition is named by the row of its
first step, and its key is the number of that insert, counted from the start of the run.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from core import checks
from replay import base
from replay.device import sum_tree

CHECKS: Mapping[str, checks.Check] = {
    "capacity": checks.integer(1),
    "min_size": checks.integer(1),
    "batch_size": checks.integer(1),
    "priority_exponent": checks.number(0),
    "uniform_mix": checks.number(0, 1),
    "max_priority": checks.number(0, open_low=True),
    "importance_exponent": checks.number(0, 1),
    "importance_exponent_end": checks.number(0, 1),
    "importance_exponent_end_steps": checks.integer(1),
}

# XLA addresses an array's elements with 32 bits in places.
_MAX_ELEMENTS = 2**31 - 1


class RingState(NamedTuple):
    """The replay's arrays: C rows of N lanes.

    Attributes:
      observations: [C, N, ...]; frames as uint32 words (four pixels each), vectors as they are.
      is_first, is_last: bool [C, N].
      rewards, discounts: float32 [C, N], those that arrived with the observation.
      actions: int32 [C, N], chosen on the observation.
      tree: priorities to the exponent.
      max_priority: float32 [], the largest priority seen; new transitions get it.
      rows: int32 [], how many rows were ever added.
      cleared: int32 [], the rows before it were there when the replay was cleared.
    """

    observations: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    rewards: jax.Array
    discounts: jax.Array
    actions: jax.Array
    tree: sum_tree.SumTree
    max_priority: jax.Array
    rows: jax.Array
    cleared: jax.Array


@dataclasses.dataclass(frozen=True)
class PrioritizedRing:
    """The replay contract (replay.base.Replay) on one device.

    Attributes:
      observation_spec: one lane's newest observation.
      num_lanes: N.
      num_rows: C, the rows of the ring; C * N transitions at most.
      frame_stack: S, frames per observation given to the agent; 0 for vectors, left as they are.
      n_step: n of the returns.
      discount: gamma, applied at every step.
      priority_exponent: omega; the probability is proportional to priority**omega.
      uniform_mix: share of uniform sampling.
      num_seeds: K rings that are one array [K, C, N, ...] in memory.
    """

    observation_spec: specs.Array
    num_lanes: int
    num_rows: int
    frame_stack: int
    n_step: int
    discount: float
    priority_exponent: float
    uniform_mix: float
    num_seeds: int = 1

    def __post_init__(self):
        needed = self.n_step + self._history + 2
        if self.num_rows < needed:
            raise checks.ConfigError(
                f"replay.capacity = {self.num_rows * self.num_lanes}: expected at least "
                f"{needed * self.num_lanes} with {self.num_lanes} lanes, n_step {self.n_step} and "
                f"frame_stack {self.frame_stack}"
            )
        row_elements = self.num_seeds * self.num_lanes * int(np.prod(self._stored_shape))
        if self.num_rows * row_elements > _MAX_ELEMENTS:
            most = _MAX_ELEMENTS // row_elements * self.num_lanes
            raise checks.ConfigError(
                f"replay.capacity = {self.num_rows * self.num_lanes}: expected at most {most} "
                f"observations of this size with num_seeds = {self.num_seeds} (arrays of 2**31 "
                "elements)"
            )

    @property
    def _history(self) -> int:
        """Rows before a transition's own that its first stack reads."""
        return max(self.frame_stack, 1) - 1

    @property
    def _is_packed(self) -> bool:
        spec = self.observation_spec
        return spec.dtype == np.uint8 and int(np.prod(spec.shape)) % 4 == 0

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        shape = self.observation_spec.shape
        return (int(np.prod(shape)) // 4,) if self._is_packed else shape

    @property
    def seed_axes(self) -> RingState:
        """For vmap over independent seeds: the row counts are common, all else has an axis each."""
        axes: dict[str, Any] = dict.fromkeys(RingState._fields, 0)
        axes |= dict.fromkeys(("rows", "cleared"))
        return RingState(**axes)

    def init(self) -> RingState:
        """An empty ring."""
        shape = (self.num_rows, self.num_lanes)
        dtype = np.uint32 if self._is_packed else self.observation_spec.dtype
        return RingState(
            observations=jnp.zeros(shape + self._stored_shape, dtype),
            is_first=jnp.zeros(shape, bool),
            is_last=jnp.zeros(shape, bool),
            rewards=jnp.zeros(shape, jnp.float32),
            discounts=jnp.zeros(shape, jnp.float32),
            actions=jnp.zeros(shape, jnp.int32),
            tree=sum_tree.init(*shape),
            max_priority=jnp.ones((), jnp.float32),
            rows=jnp.zeros((), jnp.int32),
            cleared=jnp.zeros((), jnp.int32),
        )

    def add(self, state: RingState, step: base.Step) -> RingState:
        """Writes one row, over the oldest when full; the transition n rows back becomes ready."""
        chex.assert_shape(step.observation, (self.num_lanes, *self.observation_spec.shape))
        chex.assert_shape(step[1:], (self.num_lanes,))
        position = state.rows % self.num_rows

        def write(ring: jax.Array, row: jax.Array) -> jax.Array:
            start = (position,) + (0,) * (ring.ndim - 1)
            return jax.lax.dynamic_update_slice(ring, row[None].astype(ring.dtype), start)

        state = state._replace(
            observations=write(state.observations, self._pack(step.observation)),
            is_first=write(state.is_first, step.is_first),
            is_last=write(state.is_last, step.is_last),
            rewards=write(state.rewards, step.reward),
            discounts=write(state.discounts, step.discount),
            actions=write(state.actions, step.action),
        )
        return state._replace(tree=self._advance_tree(state), rows=state.rows + 1)

    def _advance_tree(self, state: RingState) -> sum_tree.SumTree:
        """Admits the row whose n steps are now complete, and drops those that lost their frames.

        The new row itself waits for its n steps. The oldest rows can't be sampled: the frames
        before them, which their stacks would need, are overwritten.
        """
        newest = state.rows
        ready, orphan = newest - self.n_step, newest - self.num_rows + self._history
        rows = jnp.stack([ready, newest, orphan]) % self.num_rows
        is_ready = jnp.logical_and(ready >= state.cleared, ~state.is_last[rows[0]])
        absent = jnp.zeros_like(is_ready)
        present = jnp.stack([is_ready, absent, absent])
        weight = state.max_priority**self.priority_exponent
        weights = jnp.broadcast_to(weight, present.shape)
        return sum_tree.set_rows(state.tree, rows, self.num_lanes, weights, present)

    def num_added(self, state: RingState) -> jax.Array:
        """Steps ever added, over all lanes, int32 []."""
        return state.rows * self.num_lanes

    def size(self, state: RingState) -> jax.Array:
        """How many transitions can be sampled, int32 []."""
        return jnp.sum(state.tree.counts)

    def sample(self, state: RingState, rng: jax.Array, batch_size: int) -> base.Sample:
        """Draws transitions; the ring must hold at least one."""
        uniform = jax.random.uniform(rng, (2, batch_size))
        leaves, probabilities = sum_tree.sample(state.tree, uniform, self.uniform_mix)
        position, lane = leaves // self.num_lanes, leaves % self.num_lanes
        age = (state.rows - 1 - position) % self.num_rows
        row = state.rows - 1 - age
        return base.Sample(
            transition=self.transitions(state, row, lane),
            keys=row * self.num_lanes + lane,
            probabilities=probabilities,
            size=self.size(state),
        )

    def transitions(self, state: RingState, row: jax.Array, lane: jax.Array) -> base.Transition:
        """Assembles the transitions that start at rows int32 [B] (counted from 0) of lanes [B]."""
        r_t, discount_t, num_steps = self._returns(state, row, lane)
        return base.Transition(
            s_tm1=self._observations(state, row, lane),
            a_tm1=state.actions[row % self.num_rows, lane],
            r_t=r_t,
            discount_t=discount_t,
            s_t=self._observations(state, row + num_steps, lane),
        )

    def _returns(
        self, state: RingState, row: jax.Array, lane: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Discounted returns, products of discounts [B], and the steps until s_t, n at most."""
        steps = jnp.arange(1, self.n_step + 1)
        rows = (row[:, None] + steps[None]) % self.num_rows
        rewards, discounts, is_last = (
            ring[rows, lane[:, None]] for ring in (state.rewards, state.discounts, state.is_last)
        )
        r_t, discount_t = jnp.zeros_like(rewards[:, 0]), jnp.ones_like(rewards[:, 0])
        num_steps = jnp.zeros_like(row)
        running = jnp.ones_like(is_last[:, 0])
        for k in range(self.n_step):
            r_t += jnp.where(running, discount_t * rewards[:, k], 0.0)
            discount_t *= jnp.where(running, self.discount * discounts[:, k], 1.0)
            num_steps += running
            running &= ~is_last[:, k]
        return r_t, discount_t, num_steps

    def _observations(self, state: RingState, row: jax.Array, lane: jax.Array) -> jax.Array:
        """What the agent saw at `row`: [B, S, ...], or [B, ...] without stacking."""
        if not self.frame_stack:
            return self._unpack(state.observations[row % self.num_rows, lane])
        back = jnp.arange(self._history, -1, -1)
        rows = (row[:, None] - back[None]) % self.num_rows
        frames = self._unpack(state.observations[rows, lane[:, None]])
        # Frame j belongs to the episode unless a later frame of the stack (or the newest) began it.
        starts = state.is_first[rows, lane[:, None]][:, 1:]
        later_start = jnp.flip(jnp.cumsum(jnp.flip(starts, 1), axis=1), 1) > 0
        keep = jnp.pad(~later_start, ((0, 0), (0, 1)), constant_values=True)
        keep = keep.reshape(keep.shape + (1,) * (frames.ndim - 2))
        return jnp.where(keep, frames, jnp.zeros_like(frames))

    def _pack(self, observation: jax.Array) -> jax.Array:
        if not self._is_packed:
            return observation
        words = observation.reshape(self.num_lanes, *self._stored_shape, 4)
        return jax.lax.bitcast_convert_type(words, jnp.uint32)

    def _unpack(self, stored: jax.Array) -> jax.Array:
        if not self._is_packed:
            return stored
        pixels = jax.lax.bitcast_convert_type(stored, jnp.uint8)
        return pixels.reshape(stored.shape[:-1] + self.observation_spec.shape)

    def update_priorities(
        self, state: RingState, keys: jax.Array, priorities: jax.Array
    ) -> RingState:
        """Sets the priorities [B] of transitions that are still there.

        A recycled slot has a newer row than the key says, so a late update can't reach it.
        """
        chex.assert_equal_shape([keys, priorities])
        row, lane = keys // self.num_lanes, keys % self.num_lanes
        leaves = (row % self.num_rows) * self.num_lanes + lane
        block_size = state.tree.present.shape[1]
        present = state.tree.present[leaves // block_size, leaves % block_size]
        is_live = present & (row > state.rows - 1 - self.num_rows) & (row < state.rows)
        leaves = jnp.where(is_live, leaves, state.tree.present.size)
        weights = priorities**self.priority_exponent
        largest = jnp.max(jnp.where(is_live, priorities, 0.0))
        return state._replace(
            tree=sum_tree.set_leaves(state.tree, leaves, weights, is_live),
            max_priority=jnp.maximum(state.max_priority, largest),
        )

    def cut(self, state: RingState) -> RingState:
        """Marks the newest row as the last of its episodes: what follows does not continue them."""
        newest = (state.rows - 1) % self.num_rows
        return state._replace(is_last=state.is_last.at[newest].set(True))

    def clear(self, state: RingState) -> RingState:
        """Forgets all transitions and priorities. Rows are counted on: no key comes twice."""
        return state._replace(
            tree=sum_tree.init(self.num_rows, self.num_lanes),
            max_priority=jnp.ones((), jnp.float32),
            cleared=state.rows,
        )


def make(
    config: Mapping[str, Any],
    observation_spec: specs.Array,
    num_lanes: int,
    frame_stack: int,
    n_step: int,
    discount: float,
    num_seeds: int = 1,
) -> PrioritizedRing:
    """Builds the ring, of each of `num_seeds`, that the section `replay` of a config describes.

    Raises:
      ConfigError: for a bad key or value, or a capacity that does not fit the other settings.
    """
    checks.verify("replay", config, CHECKS)
    if config["min_size"] > config["capacity"]:
        raise checks.ConfigError(
            f"replay.min_size = {config['min_size']}: expected at most "
            f"replay.capacity = {config['capacity']}"
        )
    return PrioritizedRing(
        observation_spec=observation_spec,
        num_lanes=num_lanes,
        num_rows=config["capacity"] // num_lanes,
        frame_stack=frame_stack,
        n_step=n_step,
        discount=discount,
        priority_exponent=config["priority_exponent"],
        uniform_mix=config["uniform_mix"],
        num_seeds=num_seeds,
    )

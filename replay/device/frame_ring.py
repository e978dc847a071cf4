"""Steps of N environments in time-major rings on the device, and transitions built from them.

Each frame is stored once; stacks and n-step returns are assembled when a transition is sampled.
A transition is identified by the row of its first step and its environment.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from core import checks
from replay import base

# XLA addresses an array's elements with 32 bits in places.
_MAX_ELEMENTS = 2**31 - 1


class RingState(NamedTuple):
    """The rings' arrays: C rows of N environments.

    Attributes:
      observations: [C, N, ...]; frames as uint32 words (four pixels each), vectors as they are.
      is_first, is_last: bool [C, N].
      rewards, discounts: float32 [C, N], as they arrived with the observation.
      actions: int32 [C, N], chosen on the observation.
      rows: int32 [], how many rows were ever added.
      cleared: int32 [], the value of `rows` when the replay was last cleared.
    """

    observations: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    rewards: jax.Array
    discounts: jax.Array
    actions: jax.Array
    rows: jax.Array
    cleared: jax.Array


@dataclasses.dataclass(frozen=True)
class FrameRing:
    """The storage that all replays on the device use.

    Attributes:
      spec: of the transitions.
      num_rows: C, the rows of the ring; C * N transitions at most.
      num_seeds: K, rings that form one array [K, C, N, ...] in memory.
    """

    spec: base.TransitionSpec
    num_rows: int
    num_seeds: int = 1

    def __post_init__(self):
        """Raises ConfigError for a capacity too small for a transition, or too large for XLA."""
        num_envs = self.spec.num_envs
        needed = self.spec.n_step + self.history + 2
        if self.num_rows < needed:
            raise checks.ConfigError(
                f"replay.capacity = {self.num_rows * num_envs}: expected at least "
                f"{needed * num_envs} with {num_envs} environments, transition.n_step = "
                f"{self.spec.n_step} and transition.frame_stack = {self.spec.frame_stack}"
            )
        row_elements = self.num_seeds * num_envs * int(np.prod(self._stored_shape))
        if self.num_rows * row_elements > _MAX_ELEMENTS:
            most = _MAX_ELEMENTS // row_elements * num_envs
            raise checks.ConfigError(
                f"replay.capacity = {self.num_rows * num_envs}: expected at most {most} "
                f"observations of this size with num_seeds = {self.num_seeds} (arrays of 2**31 "
                "elements)"
            )

    @property
    def history(self) -> int:
        """Rows before a transition's own that its first stack reads."""
        return max(self.spec.frame_stack, 1) - 1

    @property
    def _is_packed(self) -> bool:
        observation = self.spec.observation
        return observation.dtype == np.uint8 and int(np.prod(observation.shape)) % 4 == 0

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        shape = self.spec.observation.shape
        return (int(np.prod(shape)) // 4,) if self._is_packed else shape

    @property
    def seed_axes(self) -> RingState:
        """For vmap over independent seeds: the row counts are shared, all else has a seed axis."""
        axes: dict[str, Any] = dict.fromkeys(RingState._fields, 0)
        axes |= dict.fromkeys(("rows", "cleared"))
        return RingState(**axes)

    def init(self) -> RingState:
        """Empty rings."""
        shape = (self.num_rows, self.spec.num_envs)
        dtype = np.uint32 if self._is_packed else self.spec.observation.dtype
        return RingState(
            observations=jnp.zeros(shape + self._stored_shape, dtype),
            is_first=jnp.zeros(shape, bool),
            is_last=jnp.zeros(shape, bool),
            rewards=jnp.zeros(shape, jnp.float32),
            discounts=jnp.zeros(shape, jnp.float32),
            actions=jnp.zeros(shape, jnp.int32),
            rows=jnp.zeros((), jnp.int32),
            cleared=jnp.zeros((), jnp.int32),
        )

    def write(self, state: RingState, step: base.Step) -> RingState:
        """Writes one row, overwriting the oldest when full. `count_row` counts it."""
        num_envs = self.spec.num_envs
        chex.assert_shape(step.observation, (num_envs, *self.spec.observation.shape))
        chex.assert_shape(step[1:], (num_envs,))
        position = state.rows % self.num_rows

        def write(ring: jax.Array, row: jax.Array) -> jax.Array:
            start = (position,) + (0,) * (ring.ndim - 1)
            return jax.lax.dynamic_update_slice(ring, row[None].astype(ring.dtype), start)

        return state._replace(
            observations=write(state.observations, self._pack(step.observation)),
            is_first=write(state.is_first, step.is_first),
            is_last=write(state.is_last, step.is_last),
            rewards=write(state.rewards, step.reward),
            discounts=write(state.discounts, step.discount),
            actions=write(state.actions, step.action),
        )

    def ready(self, state: RingState) -> tuple[jax.Array, jax.Array]:
        """Before a written row is counted: the row whose n steps are now complete, and where.

        Returns:
          The row int32 [], counted from 0, and whether each environment's transition of that row
          may be sampled from now on, bool [N].
        """
        row = state.rows - self.spec.n_step
        return row, jnp.logical_and(row >= state.cleared, ~state.is_last[row % self.num_rows])

    def count_row(self, state: RingState) -> RingState:
        """Counts the row that was written."""
        return state._replace(rows=state.rows + 1)

    def num_added(self, state: RingState) -> jax.Array:
        """Steps ever added, over all environments, int32 []."""
        return state.rows * self.spec.num_envs

    def transitions(self, state: RingState, row: jax.Array, env: jax.Array) -> base.Transition:
        """Assembles the transitions of rows int32 [B] (counted from 0) of environments [B]."""
        r_t, discount_t, num_steps = self._returns(state, row, env)
        return base.Transition(
            s_tm1=self._observations(state, row, env),
            a_tm1=state.actions[row % self.num_rows, env],
            r_t=r_t,
            discount_t=discount_t,
            s_t=self._observations(state, row + num_steps, env),
        )

    def _returns(
        self, state: RingState, row: jax.Array, env: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Discounted returns, products of discounts [B], and the steps until s_t, n at most."""
        steps = jnp.arange(1, self.spec.n_step + 1)
        rows = (row[:, None] + steps[None]) % self.num_rows
        rewards, discounts, is_last = (
            ring[rows, env[:, None]] for ring in (state.rewards, state.discounts, state.is_last)
        )
        r_t, discount_t = jnp.zeros_like(rewards[:, 0]), jnp.ones_like(rewards[:, 0])
        num_steps = jnp.zeros_like(row)
        running = jnp.ones_like(is_last[:, 0])
        for k in range(self.spec.n_step):
            r_t += jnp.where(running, discount_t * rewards[:, k], 0.0)
            discount_t *= jnp.where(running, self.spec.discount * discounts[:, k], 1.0)
            num_steps += running
            running &= ~is_last[:, k]
        return r_t, discount_t, num_steps

    def _observations(self, state: RingState, row: jax.Array, env: jax.Array) -> jax.Array:
        """What the agent saw at `row`: [B, S, ...], or [B, ...] without stacking."""
        if not self.spec.frame_stack:
            return self._unpack(state.observations[row % self.num_rows, env])
        back = jnp.arange(self.history, -1, -1)
        rows = (row[:, None] - back[None]) % self.num_rows
        frames = self._unpack(state.observations[rows, env[:, None]])
        # Frame j belongs to the episode unless a later frame of the stack (or the newest) began it.
        starts = state.is_first[rows, env[:, None]][:, 1:]
        later_start = jnp.flip(jnp.cumsum(jnp.flip(starts, 1), axis=1), 1) > 0
        keep = jnp.pad(~later_start, ((0, 0), (0, 1)), constant_values=True)
        keep = keep.reshape(keep.shape + (1,) * (frames.ndim - 2))
        return jnp.where(keep, frames, jnp.zeros_like(frames))

    def _pack(self, observation: jax.Array) -> jax.Array:
        if not self._is_packed:
            return observation
        words = observation.reshape(self.spec.num_envs, *self._stored_shape, 4)
        return jax.lax.bitcast_convert_type(words, jnp.uint32)

    def _unpack(self, stored: jax.Array) -> jax.Array:
        if not self._is_packed:
            return stored
        pixels = jax.lax.bitcast_convert_type(stored, jnp.uint8)
        return pixels.reshape(stored.shape[:-1] + self.spec.observation.shape)

    def cut(self, state: RingState) -> RingState:
        """Marks the newest row as the last of its episodes: what follows does not continue them."""
        newest = (state.rows - 1) % self.num_rows
        return state._replace(is_last=state.is_last.at[newest].set(True))


def make(capacity: int, spec: base.TransitionSpec, num_seeds: int) -> FrameRing:
    """The rings of `capacity` transitions; raises ConfigError if that does not fit the spec."""
    return FrameRing(spec, capacity // spec.num_envs, num_seeds)

"""The learner: its whole state, replay included, and the two jitted steps that change it.

`observe` takes a time step of every lane, records it and chooses the next actions; `learn` does
k updates in one call. Both give the old state's memory to the new one, so the replay is changed
in place. Every array has a leading axis over independent seeds.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from replay import base as replay_base
from training.learning import seeds
from training.learning import update as update_lib
from training.system import platform

Metrics = update_lib.Metrics


class LearnerState(NamedTuple):
    """All that training changes, for K seeds.

    Attributes:
      params, target_params: of the network.
      opt_state: the optimizer's.
      rng: one typed key per seed, [K].
      replay: the replay's.
      stack: what each lane shows its agent now, [K, N, S, ...] or [K, N, ...].
      updates: int32 [], how many were done; the seeds share it.
      importance_start: int32 [], steps in the replay when the importance schedule was (re)started.
    """

    params: Any
    target_params: Any
    opt_state: Any
    rng: jax.Array
    replay: Any
    stack: jax.Array
    updates: jax.Array
    importance_start: jax.Array


class Observed(NamedTuple):
    """A time step of every lane as arrays [K, N, ...]: what `observe` reads of dm_env's.

    Rewards are clipped already: see training/experiment.py's `observed`.
    """

    observation: Any
    is_first: Any
    is_last: Any
    reward: Any
    discount: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """Joins a replay and the update of an agent.

    Attributes:
      update: of the agent.
      replay: the replay, of num_envs lanes.
      importance: the exponent of the importance weights.
      num_seeds: K.
      num_envs: N, lanes of each seed.
      frame_stack: frames of an observation the agent sees; 0 for vectors.
      batch_size: transitions of an update.
      max_abs_reward: what rewards are clipped to before they are observed.
    """

    update: update_lib.Update
    replay: replay_base.Replay
    importance: update_lib.ImportanceSchedule
    num_seeds: int
    num_envs: int
    frame_stack: int
    batch_size: int
    max_abs_reward: float

    @functools.cached_property
    def axes(self) -> LearnerState:
        """The vmap axes of the state over the seeds: 0, or None for what they share."""
        axes: dict[str, Any] = dict.fromkeys(LearnerState._fields, 0)
        axes |= {"updates": None, "importance_start": None, "replay": self.replay.seed_axes}
        return LearnerState(**axes)

    def init(self, seed: int, first_observation: jax.Array) -> LearnerState:
        """The state before anything was seen; the k-th seed is `seed` + k.

        Args:
          seed: of the first.
          first_observation: newest observations [K, N, ...], for their shape.
        """
        rngs = jax.vmap(jax.random.key)(seed + jnp.arange(self.num_seeds))

        def init_one(rng: jax.Array, observation: jax.Array) -> LearnerState:
            rng_params, rng = jax.random.split(rng)
            stack = empty_stack(observation, self.frame_stack)
            return LearnerState(
                **self.update.init(rng_params, stack)._asdict(),
                rng=rng,
                replay=self.replay.init(),
                stack=stack,
                importance_start=jnp.zeros((), jnp.int32),
            )

        init_all = seeds.over_seeds(init_one, self.num_seeds, (0, 0), self.axes)
        return jax.jit(init_all)(rngs, first_observation)

    @functools.cached_property
    def observe(self):
        """(state, Observed) -> state, actions int32 [K, N]. Jitted; takes the state's memory."""
        axes = self.axes
        mapped = seeds.over_seeds(self._observe, self.num_seeds, (axes, 0), (axes, 0))
        return jax.jit(mapped, donate_argnums=0)

    def _observe(self, state: LearnerState, observed: Observed) -> tuple[LearnerState, jax.Array]:
        rng, rng_act = jax.random.split(state.rng)
        stack = push(state.stack, observed.observation, observed.is_first, self.frame_stack)
        actions = self.update.agent.act(state.params, rng_act, stack)
        chex.assert_shape(actions, (self.num_envs,))
        step = replay_base.Step(
            observation=observed.observation,
            is_first=observed.is_first,
            is_last=observed.is_last,
            reward=observed.reward,
            discount=observed.discount,
            action=actions,
        )
        replay = self.replay.add(state.replay, step)
        return state._replace(rng=rng, stack=stack, replay=replay), actions

    @functools.cached_property
    def learn(self):
        """(state, number of updates) -> state, metrics [K] averaged over the updates. Jitted.

        Takes the state's memory; the number is static.
        """
        axes = self.axes

        def learn(state: LearnerState, num_updates: int) -> tuple[LearnerState, Metrics]:
            scan = lambda s: self._scan(s, num_updates)  # noqa: E731
            return seeds.over_seeds(scan, self.num_seeds, (axes,), (axes, 0))(state)

        options = platform.compiler_options()
        # jax 0.4's jit has no such argument.
        more: dict[str, Any] = {"compiler_options": options} if options else {}
        return jax.jit(learn, static_argnums=1, donate_argnums=0, **more)

    def _scan(self, state: LearnerState, num_updates: int) -> tuple[LearnerState, Metrics]:
        state, metrics = jax.lax.scan(lambda s, _: self._update(s), state, None, length=num_updates)
        return state, jax.tree.map(jnp.mean, metrics)

    def _update(self, state: LearnerState) -> tuple[LearnerState, Metrics]:
        """Sample, update, priorities."""
        rng, rng_sample, rng_loss = jax.random.split(state.rng, 3)
        sample = self.replay.sample(state.replay, rng_sample, self.batch_size)
        weights = self._importance_weights(state, sample)
        after, priorities, metrics = self.update(
            trained(state), rng_loss, sample.transition, weights
        )
        replay = self.replay.update_priorities(state.replay, sample.keys, priorities)
        return state._replace(**after._asdict(), rng=rng, replay=replay), metrics

    def _importance_weights(self, state: LearnerState, sample: replay_base.Sample) -> jax.Array:
        exponent = self._importance_exponent(state)
        return update_lib.importance_weights(sample.probabilities, exponent)

    def _importance_exponent(self, state: LearnerState) -> jax.Array:
        return self.importance(self.replay.num_added(state.replay) - state.importance_start)

    @functools.cached_property
    def replay_size(self):
        """(state) -> transitions that can be sampled, int32 [K]. Jitted."""
        size = lambda state: self.replay.size(state.replay)  # noqa: E731
        return jax.jit(seeds.over_seeds(size, self.num_seeds, (self.axes,), 0))

    @functools.cached_property
    def cut(self):
        """(state) -> state whose lanes' episodes end here. Jitted; takes the state's memory."""
        axes = self.axes
        cut = lambda s: s._replace(replay=self.replay.cut(s.replay))  # noqa: E731
        return jax.jit(seeds.over_seeds(cut, self.num_seeds, (axes,), axes), donate_argnums=0)

    @functools.cached_property
    def measure(self):
        """(state) -> {quantity: {layer: [K]}}, as Update.measure. Jitted."""
        mapped = seeds.over_seeds(self._measure, self.num_seeds, (self.axes,), 0)
        return jax.jit(mapped)

    def _measure(self, state: LearnerState) -> Mapping[str, Metrics]:
        rng_sample, rng_loss = jax.random.split(jax.random.fold_in(state.rng, 0))
        sample = self.replay.sample(state.replay, rng_sample, self.batch_size)
        weights = self._importance_weights(state, sample)
        return self.update.measure(trained(state), rng_loss, sample.transition, weights)


def trained(state: LearnerState) -> update_lib.Trained:
    """The part of the state that an update changes."""
    return update_lib.Trained(state.params, state.target_params, state.opt_state, state.updates)


def empty_stack(observation: jax.Array, frame_stack: int) -> jax.Array:
    """Zeros [N, S, ...] to `push` observations [N, ...] on, or [N, ...] if frame_stack is 0."""
    if not frame_stack:
        return jnp.zeros_like(observation)
    shape = (observation.shape[0], frame_stack, *observation.shape[1:])
    return jnp.zeros(shape, observation.dtype)


def push(stack: jax.Array, newest: jax.Array, is_first: jax.Array, frame_stack: int) -> jax.Array:
    """Appends the newest observation to each lane's stack; an episode starts from zeros.

    Args:
      stack: [N, S, ...], newest last (or [N, ...] if frame_stack is 0).
      newest: [N, ...].
      is_first: bool [N].
      frame_stack: S, or 0 for observations that are not stacked.

    Returns:
      The new stack, of the same shape.
    """
    if not frame_stack:
        return newest
    is_first = is_first.reshape((-1,) + (1,) * (stack.ndim - 1))
    kept = jnp.where(is_first, jnp.zeros_like(stack), stack)[:, 1:]
    return jnp.concatenate([kept, newest[:, None]], axis=1)

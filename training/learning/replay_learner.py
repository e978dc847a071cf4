"""The learner: its whole state, replay included, and the two jitted steps that change it.

`observe` takes a time step of every environment, records it and chooses the next actions; `learn`
does k updates in one call. Both donate the old state's memory, so the replay changes in place.
Every array has a leading axis over independent seeds.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import base as agents_base
from core import types
from replay import base as replay_base
from training import periods
from training.learning import prioritizing as prioritizing_lib
from training.learning import seeds
from training.system import jax_platform

Metrics = Mapping[str, jax.Array]


class LearnerState(NamedTuple):
    """All that training changes, for K seeds.

    Attributes:
      train: what the agent's updates change, packed if the agent has that; the seeds share the
        count of updates.
      rng: one typed key per seed, [K].
      replay: the replay's.
      stack: what each environment shows its agent now, [K, N, S, ...] or [K, N, ...].
      steps: int32 [], agent steps of a seed since the exploration schedule was (re)started, over
        all its environments; the seeds share it.
      importance_start: int32 [], steps in the replay when the importance schedule was (re)started.
    """

    train: types.TrainState
    rng: jax.Array
    replay: Any
    stack: jax.Array
    steps: jax.Array
    importance_start: jax.Array


class Observed(NamedTuple):
    """A time step of each environment: the dm_env fields that `observe` reads, in two arrays.

    Each array that travels to a device costs the host some microseconds, however small.

    Attributes:
      observation: [K, N, ...].
      signals: float32 [K, N, 4], is_first, is_last, reward and discount. Rewards are clipped
        already: see training/experiment.py's `observed`.
    """

    observation: Any
    signals: Any

    @classmethod
    def of(cls, observation, is_first, is_last, reward, discount) -> "Observed":
        """Puts fields [K, N] side by side, NumPy's on the host."""
        signals = (is_first, is_last, reward, discount)
        on_host = all(isinstance(signal, np.ndarray) for signal in signals)
        stack = np.stack if on_host else jnp.stack
        return cls(observation, stack([x.astype(np.float32) for x in signals], axis=-1))

    @property
    def is_first(self) -> jax.Array:
        """Whether an episode begins here, bool [..., N]."""
        return self.signals[..., 0] > 0

    @property
    def is_last(self) -> jax.Array:
        """Whether it ends here, bool [..., N]."""
        return self.signals[..., 1] > 0

    @property
    def reward(self) -> jax.Array:
        """float32 [..., N]."""
        return self.signals[..., 2]

    @property
    def discount(self) -> jax.Array:
        """float32 [..., N]."""
        return self.signals[..., 3]


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """Joins a replay and an agent.

    Attributes:
      agent: the algorithm.
      replay: of num_envs environments.
      prioritizing: of a replay with priorities, or None.
      num_seeds: K.
      num_envs: N, environments of each seed.
      frame_stack: frames of an observation the agent sees; 0 for vectors.
      batch_size: transitions of an update.
      max_abs_reward: what rewards are clipped to before they are observed; 0: no clipping.
      keeps_loop: whether one update is a loop to the compiler, as several are.
    """

    agent: agents_base.Agent
    replay: replay_base.Replay
    prioritizing: prioritizing_lib.Prioritizing | None
    num_seeds: int
    num_envs: int
    frame_stack: int
    batch_size: int
    max_abs_reward: float
    keeps_loop: bool

    @functools.cached_property
    def packed(self) -> agents_base.Packed:
        """The agent's, or the identity and its own update, which may copy the target each time.

        The update is traced once, whatever calls it, and inlined there.
        """
        same = lambda state: state  # noqa: E731
        packed = self.agent.packed or agents_base.Packed(
            same, same, self.agent.update, same, target_period_updates=1
        )
        return packed._replace(update=jax.jit(packed.update, inline=True))

    @functools.cached_property
    def axes(self) -> LearnerState:
        """The vmap axes of the state over the seeds: 0, or None for what they share."""
        own: Any = 0
        shared: Any = None
        return LearnerState(
            train=types.TrainState(own, own, own, updates=shared, interventions=own),
            rng=own,
            replay=self.replay.seed_axes,
            stack=own,
            steps=shared,
            importance_start=shared,
        )

    def init(self, seed: int, first_observation: jax.Array) -> LearnerState:
        """The state before anything was seen; the k-th seed is `seed` + k.

        Args:
          seed: the first.
          first_observation: newest observations [K, N, ...], for their shape.
        """
        rngs = jax.vmap(jax.random.key)(seed + jnp.arange(self.num_seeds))

        def init_one(rng: jax.Array, observation: jax.Array) -> LearnerState:
            rng_params, rng = jax.random.split(rng)
            stack = empty_stack(observation, self.frame_stack)
            return LearnerState(
                train=self.packed.pack(self.agent.init(rng_params, stack)),
                rng=rng,
                replay=self.replay.init(),
                stack=stack,
                steps=jnp.zeros((), jnp.int32),
                importance_start=jnp.zeros((), jnp.int32),
            )

        init_all = seeds.over_seeds(init_one, self.num_seeds, (0, 0), self.axes)
        return jax.jit(init_all)(rngs, first_observation)

    @functools.cached_property
    def observe(self):
        """(state, Observed) -> state, actions int32 [K, N]. Jitted; donates the state."""
        axes = self.axes
        mapped = seeds.over_seeds(self.observe_one, self.num_seeds, (axes, 0), (axes, 0))
        return jax.jit(mapped, donate_argnums=0)

    def observe_one(
        self, state: LearnerState, observed: Observed
    ) -> tuple[LearnerState, jax.Array]:
        """`observe` of one seed."""
        rng, rng_act = jax.random.split(state.rng)
        stack = push(state.stack, observed.observation, observed.is_first, self.frame_stack)
        params = self.packed.unpack(state.train).params
        actions = self.agent.act(params, rng_act, stack, state.steps, "training")
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
        steps = state.steps + self.num_envs
        return state._replace(rng=rng, stack=stack, replay=replay, steps=steps), actions

    @functools.cached_property
    def record(self):
        """(state, Step [K, R, N, ...]) -> state whose replay has R more rows. Jitted."""
        axes = self.axes

        def record(state: LearnerState, rows: replay_base.Step) -> LearnerState:
            add = lambda replay, step: (self.replay.add(replay, step), None)  # noqa: E731
            return state._replace(replay=jax.lax.scan(add, state.replay, rows)[0])

        mapped = seeds.over_seeds(record, self.num_seeds, (axes, 0), axes)
        return jax.jit(mapped, donate_argnums=0)

    @functools.cached_property
    def learn(self):
        """(state, number of updates, copies) -> state, metrics [K], means over the updates.

        Jitted; donates the state. The number is static, and so is `copies`: whether the target
        network may be copied within the call, which is what `copies_within` says. Without, nothing
        of it is written.
        """
        axes = self.axes

        def learn(
            state: LearnerState, num_updates: int, copies: bool = True
        ) -> tuple[LearnerState, Metrics]:
            scan = lambda s: self._scan(s, num_updates, copies)  # noqa: E731
            return seeds.over_seeds(scan, self.num_seeds, (axes,), (axes, 0))(state)

        return jax_platform.jit_updates(learn, static_argnums=(1, 2), donate_argnums=0)

    def copies_within(self, updates: int, num_updates: int) -> bool:
        """Whether a call of `learn` has to look for copies of the target that are due.

        Args:
          updates: done before the call.
          num_updates: of the call.
        """
        period = self.packed.target_period_updates
        return periods.is_completed(period, updates, updates + num_updates)

    def _scan(
        self, state: LearnerState, num_updates: int, copies: bool
    ) -> tuple[LearnerState, Metrics]:
        names: list[str] = []

        def step(state: LearnerState, _: None) -> tuple[LearnerState, Any]:
            state, metrics = self.update_one(state, copies)
            if self.agent.packed is None:
                return state, metrics
            # One row to write instead of a number for each metric.
            names[:] = metrics
            return state, jnp.stack(list(metrics.values()))

        if num_updates == 1 and self.keeps_loop:
            state, metrics = _scan_once(step, state)
        else:
            state, metrics = jax.lax.scan(step, state, None, length=num_updates)
        if self.agent.packed is not None:
            metrics = dict(zip(names, metrics.T))
        means = jax.tree.map(jnp.mean, metrics)
        # A mean of equal float32 numbers is not always that number.
        rates = {name: metrics[name][-1] for name in means if agents_base.is_rate(name)}
        return state, {**means, **rates}

    def update_one(self, state: LearnerState, copies: bool = True) -> tuple[LearnerState, Metrics]:
        """An update of one seed: sample, update, priorities; `copies` as for `learn`."""
        rng, rng_sample, rng_loss = jax.random.split(state.rng, 3)
        sample = self.replay.sample(state.replay, rng_sample, self.batch_size)
        updated = prioritizing_lib.update(
            self.packed.update,
            self.prioritizing,
            state.train,
            rng_loss,
            sample.transition,
            self.weights(state, sample),
        )
        replay = state.replay
        if updated.priorities is not None:
            replay = self.replay.update_priorities(replay, sample.keys, updated.priorities)
        train = self.packed.copy_target(updated.state) if copies else updated.state
        return state._replace(train=train, rng=rng, replay=replay), updated.metrics

    def weights(self, state: LearnerState, sample: replay_base.Sample) -> jax.Array:
        """The importance weights [B] of one seed's batch."""
        steps = self.replay.num_added(state.replay) - state.importance_start
        return prioritizing_lib.weigh(self.prioritizing, sample.probabilities, steps)

    @functools.cached_property
    def replay_size(self):
        """(state) -> transitions that can be sampled, int32 [K]. Jitted."""
        size = lambda state: self.replay.size(state.replay)  # noqa: E731
        return jax.jit(seeds.over_seeds(size, self.num_seeds, (self.axes,), 0))

    @functools.cached_property
    def cut(self):
        """(state) -> state whose episodes end here. Jitted; donates the state."""
        axes = self.axes
        cut = lambda s: s._replace(replay=self.replay.cut(s.replay))  # noqa: E731
        return jax.jit(seeds.over_seeds(cut, self.num_seeds, (axes,), axes), donate_argnums=0)

    @functools.cached_property
    def measure(self):
        """(state) -> {quantity: {layer: [K]}}, as agents.base.Agent's. Jitted."""
        mapped = seeds.over_seeds(self._measure, self.num_seeds, (self.axes,), 0)
        return jax.jit(mapped)

    def _measure(self, state: LearnerState) -> Mapping[str, Metrics]:
        rng_sample, rng_loss = jax.random.split(agents_base.apart(state.rng, 0))
        sample = self.replay.sample(state.replay, rng_sample, self.batch_size)
        weights = self.weights(state, sample)
        train = self.packed.unpack(state.train)
        return self.agent.measure(train, rng_loss, sample.transition, weights)

    @functools.cached_property
    def adopt(self):
        """(plain state of another agent with these networks) -> its continuation by this one.

        All but what is learned are the same arrays: there may be no room for the replay twice.
        """
        axes = self.axes.train
        adopt = lambda train: self.packed.pack(self.agent.adopt(train))  # noqa: E731
        adopt = jax.jit(seeds.over_seeds(adopt, self.num_seeds, (axes,), axes))
        return lambda state: state._replace(train=adopt(state.train))


def _scan_once(
    step: Callable[[LearnerState, None], tuple[LearnerState, Any]], state: LearnerState
) -> tuple[LearnerState, Any]:
    """A scan of length 1 that stays a loop, as the compiler does not know its length.

    Else XLA for CPUs, which sees the seeds' axis put back on an update's results, works out the new
    moments twice, as results and within the new parameters. For that it copies the old ones first,
    and a full-size Rainbow's update takes two and a half times as long.
    """
    shapes = jax.eval_shape(step, state, None)[1]
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    length = 1 + jnp.minimum(state.train.updates, 0)  # a count is never negative
    do = lambda _, carry: step(carry[0], None)  # noqa: E731
    state, of_step = jax.lax.fori_loop(0, length, do, (state, empty))
    return state, jax.tree.map(lambda x: x[None], of_step)


def empty_stack(observation: jax.Array, frame_stack: int) -> jax.Array:
    """Zeros [N, S, ...] to `push` observations [N, ...] on, or [N, ...] if frame_stack is 0."""
    if not frame_stack:
        return jnp.zeros_like(observation)
    shape = (observation.shape[0], frame_stack, *observation.shape[1:])
    return jnp.zeros(shape, observation.dtype)


def push(stack: jax.Array, newest: jax.Array, is_first: jax.Array, frame_stack: int) -> jax.Array:
    """Appends the newest observation to each environment's stack; an episode starts from zeros.

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

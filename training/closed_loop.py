"""Playing and learning in one compiled loop, for environments that are pure functions.

The same steps as agent_loop's, with the same results up to rounding: observe, updates that are
due, step. But hundreds of them are one call, so that nothing waits for Python, which takes longer
than an update of a small network. Which updates are due is known before the call, from the counts
alone; a call ends where something else is due.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import base as agents_base
from core import finite
from envs import base as envs_base
from envs.functional import contract, vector
from training import agent_loop, run_settings
from training import experiment as experiment_lib
from training.learning import replay_learner, seeds
from training.logs import stage_timer
from training.system import jax_platform

GREEDY_REWARD = "greedy_reward"
"""Mean expected reward of the greedy actions, on what is seen just before each update."""


class _Plan(NamedTuple):
    """Steps of one call: how many updates follow each, and the frames learned from after it."""

    num_updates: list[int]
    frames: list[int]


class _Episodes(NamedTuple):
    """Of each step [T, N]: whether an episode ended on it, with what return and length."""

    is_last: jax.Array
    episode_return: jax.Array
    episode_steps: jax.Array


class _Carry(NamedTuple):
    """What goes from step to step, of one seed.

    Attributes:
      state: the learner's.
      running: the environments, [N].
      observed: what the learner sees next, [N].
      output: the same from the environments, [N].
      sums: of the metrics over the updates, rates as they are last.
      episodes: filled up to this step.
      first_bad: int32 [N], the step on which reward or observation of an environment were first
        not finite; training.steps_per_call if they always were.
    """

    state: replay_learner.LearnerState
    running: contract.Running
    observed: replay_learner.Observed
    output: contract.Output
    sums: dict[str, jax.Array]
    episodes: _Episodes
    first_bad: jax.Array


class ClosedLoop(agent_loop.AgentLoop):
    """An AgentLoop whose iterations are many steps."""

    def __init__(self, settings: run_settings.RunSettings, experiment: experiment_lib.Experiment):
        """Prepares the loop; see AgentLoop."""
        super().__init__(settings, experiment)
        environment = experiment.environment
        assert isinstance(environment, vector.FunctionalVector), "checked with the settings"
        self._environment = environment
        self._names = experiment_lib.metric_names(experiment)

    @property
    def metric_names(self) -> list[str]:
        """Those of updates, and GREEDY_REWARD where it is known."""
        is_known = self._environment.dynamics.expected_reward is not None
        return [*self._names, GREEDY_REWARD] if is_known else self._names

    def iterate(self, timer: stage_timer.StageTimer) -> agent_loop.Iteration:
        """Steps until something else than an update is due, or training.steps_per_call of them.

        Raises:
          NotFiniteError: if a reward or an observation is not finite.
        """
        self._begin_iteration()
        environment, learner = self._environment, self.experiment.learner
        with timer.stage("learn", always=True):
            plan = self._plan()
            split = lambda x: x.reshape(learner.num_seeds, learner.num_envs, *x.shape[1:])  # noqa: E731
            carry = self._call(
                self.state,
                jax.tree.map(split, environment.running),
                experiment_lib.observed(self.timestep, learner),
                environment.parameters,
                self._padded(plan.num_updates),
                jnp.int32(len(plan.frames)),
            )
            self.state = carry.state
            join = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
            running, output = jax.tree.map(join, (carry.running, carry.output))
            self._check_finite(np.asarray(carry.first_bad).reshape(-1), plan)
            self.timestep = environment.go_to(running, output)
        episodes = _ended(jax.device_get(carry.episodes), plan.frames)
        if self.counts.is_next_task_due:
            self.timestep = environment.next_task()
        total = sum(plan.num_updates)
        metrics = {
            name: value if agents_base.is_rate(name) else value / total
            for name, value in carry.sums.items()
        }
        return agent_loop.Iteration(metrics if total else None, episodes, total)

    def _check_finite(self, first_bad: np.ndarray, plan: _Plan) -> None:
        """Raises NotFiniteError for the environment whose numbers were the first not to be finite.

        Args:
          first_bad: the step, [environments of all seeds].
          plan: of the call.
        """
        i = int(np.argmin(first_bad))
        step = int(first_bad[i])
        if step < len(plan.frames):
            # The call's updates are counted already.
            updates = self.counts.counters["updates"] - sum(plan.num_updates[step + 1 :])
            seed = self._settings.seed + i // self._settings.num_envs
            raise finite.NotFiniteError(
                f"frame {plan.frames[step]}, update {updates}, seed {seed}: reward or observation "
                f"of environment {i} of {self._environment.name}: expected finite numbers"
            )

    def _plan(self) -> _Plan:
        """Counts the steps of the next call, and the updates that will be done in it."""
        step_frames = self._settings.num_envs * self._settings.frames_per_step
        plan = _Plan([], [])
        while True:
            self.counts.report(self.counts.played + step_frames)
            due = self.counts.updates_behind
            self.counts.count_updates(due)
            plan.num_updates.append(due)
            plan.frames.append(self.counts.counters["frames"])
            is_full = len(plan.frames) == self._settings.training.steps_per_call
            if is_full or self.counts.is_task_over or self._is_anything_due():
                return plan

    @functools.cached_property
    def _periods(self) -> tuple[int, ...]:
        """Of all that is done between calls, in frames."""
        log, snapshot = self._settings.log, self._settings.snapshot
        return (
            *(log.period_frames, log.layers_period_frames, log.units_period_frames),
            *(log.ranks_period_frames, log.network_period_frames),
            self._settings.evaluation.period_frames,
            *(snapshot.period_frames, snapshot.parameters_period_frames),
        )

    def _is_anything_due(self) -> bool:
        return any(map(self.is_due, self._periods)) or self.is_kept(self.counts.counters["frames"])

    def _padded(self, num_updates: Sequence[int]) -> jax.Array:
        padded = np.zeros(self._settings.training.steps_per_call, np.int32)
        padded[: len(num_updates)] = num_updates
        return jnp.asarray(padded)

    @functools.cached_property
    def _call(self):
        """(state, running, Observed, parameters, updates of each step, steps) -> _Carry. Jitted.

        All of it has an axis of seeds in front, but for the last three arguments.
        """
        learner = self.experiment.learner
        arguments = (learner.axes, 0, 0, None, None, None)
        own: Any = 0
        result = _Carry(learner.axes, own, own, own, own, own, own)
        # The axis is outside of the loop: taken off and put back within, it would copy the replay.
        mapped = seeds.over_seeds(self._call_one, learner.num_seeds, arguments, result)
        return jax_platform.jit_updates(mapped, donate_argnums=(0, 1))

    def _call_one(self, state, running, observed, parameters, num_updates, num_steps) -> _Carry:
        """Of one seed, with N environments."""
        most_steps = self._settings.training.steps_per_call
        dynamics = self._environment.dynamics
        advance = jax.vmap(lambda *x: contract.advance(dynamics, *x), in_axes=(None, 0, 0))

        def step(i: jax.Array, carry: _Carry) -> _Carry:
            state, actions = self.experiment.learner.observe_one(carry.state, carry.observed)
            # No branch around the updates, for which the replay would be copied too.
            state, sums = self._learn_and_measure(
                state, carry.running, parameters, carry.sums, num_updates[i]
            )
            running, output = advance(parameters, carry.running, actions)
            ended = _Episodes(output.is_last, running.episode_return, running.episode_steps)
            episodes = jax.tree.map(lambda rows, row: rows.at[i].set(row), carry.episodes, ended)
            is_bad = ~(_are_finite(output.reward) & _are_finite(output.observation))
            first_bad = jnp.where(is_bad, jnp.minimum(carry.first_bad, i), carry.first_bad)
            return _Carry(state, running, self._seen(output), output, sums, episodes, first_bad)

        carry = _Carry(
            state=state,
            running=running,
            observed=observed,
            output=_empty_output(running, observed),
            sums={name: jnp.zeros(()) for name in self.metric_names},
            episodes=_no_episodes(most_steps, running),
            first_bad=jnp.full(running.is_last.shape, most_steps, jnp.int32),
        )
        return jax.lax.fori_loop(0, num_steps, step, carry)

    def _learn_and_measure(self, state, running, parameters, sums, num_updates):
        """Several updates, or none; and before them what the greedy actions would give."""
        learner = self.experiment.learner
        sums = dict(sums)
        if GREEDY_REWARD in sums:
            # As often as the updates it stands before.
            greedy = self._greedy_reward(state, running, parameters)
            sums[GREEDY_REWARD] = sums[GREEDY_REWARD] + greedy * num_updates

        def do(_, carry):
            state, sums = carry
            state, metrics = learner.update_one(state)
            added = {
                name: value if agents_base.is_rate(name) else sums[name] + value
                for name, value in metrics.items()
            }
            return state, {**sums, **added}

        return jax.lax.fori_loop(0, num_updates, do, (state, sums))

    def _greedy_reward(self, state, running, parameters) -> jax.Array:
        """The mean over the environments, by the network before the update."""
        learner, reward = self.experiment.learner, self._environment.dynamics.expected_reward
        assert reward is not None, "asked only where it is known"
        rng = agents_base.apart(state.rng, 3)
        params = learner.packed.unpack(state.train).params
        actions = learner.agent.act(params, rng, state.stack, state.steps, "evaluation")
        return jnp.mean(jax.vmap(reward, in_axes=(None, 0, 0))(parameters, running.state, actions))

    def _seen(self, output: contract.Output) -> replay_learner.Observed:
        """As experiment.observed, of one seed."""
        bound, reward = self.experiment.learner.max_abs_reward, output.reward
        if bound:
            reward = jnp.clip(reward, -bound, bound)
        return replay_learner.Observed.of(
            output.observation, output.is_first, output.is_last, reward, output.discount
        )


def make(
    settings: run_settings.RunSettings, experiment: experiment_lib.Experiment
) -> agent_loop.AgentLoop:
    """The loop that training.steps_per_call asks for."""
    is_closed = settings.training.steps_per_call > 1
    return (ClosedLoop if is_closed else agent_loop.AgentLoop)(settings, experiment)


def _empty_output(running: contract.Running, observed: replay_learner.Observed) -> contract.Output:
    """One to begin with, which the first step replaces."""
    nothing = jnp.zeros_like(running.is_last)
    return contract.Output(
        observation=jnp.asarray(observed.observation),
        is_first=nothing,
        is_terminal=nothing,
        is_truncated=nothing,
        reward=jnp.zeros_like(running.episode_return),
    )


def _no_episodes(most_steps: int, running: contract.Running) -> _Episodes:
    found = _Episodes(running.is_last, running.episode_return, running.episode_steps)
    return jax.tree.map(lambda x: jnp.zeros((most_steps, *x.shape), x.dtype), found)


def _are_finite(array: jax.Array) -> jax.Array:
    """Whether all numbers of each environment are, bool [N], for [N, ...]; integers always are."""
    return jnp.all(jnp.isfinite(array), axis=tuple(range(1, array.ndim)))


def _ended(found: Any, frames: Sequence[int]) -> list[tuple[int, envs_base.Episode]]:
    """The episodes of arrays [K, T, N], in the order of their ends.

    Args:
      found: _Episodes, on the host.
      frames: learned from after each step.

    Returns:
      Each after the frames learned from when it ended.
    """
    is_last, returns, lengths = (np.concatenate(list(x), axis=1) for x in found)
    return [
        (frames[t], envs_base.Episode(int(i), float(returns[t, i]), int(lengths[t, i])))
        for t, i in np.argwhere(is_last[: len(frames)])
    ]

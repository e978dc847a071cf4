"""Playing and learning in turn: a run of one process, except for its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dm_env
import jax
import numpy as np
from absl import logging

from core import finite
from envs import base as envs_base
from replay import base as replay_base
from training import experiment as experiment_lib
from training import periods, run_settings
from training.acting import choosing
from training.checkpoints import snapshot, state_arrays
from training.learning import dataset, plain_state, run_counts, update_schedule
from training.logs import stage_timer

# Offline updates per call, so that the phase can be stopped.
_UPDATES_AT_ONCE = 500


class Iteration(NamedTuple):
    """Result of one iteration.

    Attributes:
      metrics: [K] of its updates; None if none was due.
      episodes: finished in it, each after the frames learned from at that moment.
      num_updates: that were done.
    """

    metrics: Mapping[str, jax.Array] | None
    episodes: list[tuple[int, envs_base.Episode]]
    num_updates: int


def load_dataset(
    settings: run_settings.RunSettings, experiment: experiment_lib.Experiment
) -> replay_base.Step | None:
    """The steps [T, ...] of training.dataset, or None; rewards are clipped as when playing.

    Raises:
      ConfigError: if they can't be read, or don't fit.
    """
    if not settings.training.dataset:
        return None
    environment = experiment.environment
    steps = dataset.load(
        Path(settings.training.dataset),
        environment.observation_spec(),
        environment.action_spec().num_values,
    )
    least, capacity = experiment_lib.least_filling(settings), settings.replay.capacity
    dataset.check_size(len(steps.action), least, capacity, settings.num_envs)
    rewards: Any = steps.reward
    bound = settings.transition.max_abs_reward
    return steps._replace(reward=choosing.clip_rewards(rewards, bound))


class AgentLoop:
    """Environments, learner, and the counts of what they have done.

    Attributes:
      experiment: the components.
      state: the learner's.
      counts: of the run.
    """

    state: Any
    timestep: dm_env.TimeStep

    def __init__(self, settings: run_settings.RunSettings, experiment: experiment_lib.Experiment):
        """Prepares the counts; `begin` or `restore` comes next."""
        self._settings = settings
        self.experiment = experiment
        self.counts = run_counts.RunCounts(update_schedule.UpdateSchedule.make(settings))
        self._frames_before = 0

    def begin(self, recorded: replay_base.Step | None = None) -> None:
        """Starts the first episodes, with a new agent.

        Args:
          recorded: steps [T, ...] that its replay begins with.
        """
        self.timestep = self.experiment.environment.reset()
        learner = self.experiment.learner
        observed = experiment_lib.observed(self.timestep, learner)
        self.state = learner.init(self._settings.seed, observed.observation)
        if recorded is not None:
            self.state = dataset.fill(learner, self.state, recorded)

    def restore(self, path: Path, counters: dict[str, int]) -> None:
        """Restores learner, replay, emulators and counters of a verified snapshot.

        Raises:
          SnapshotError: if it is of another kind of run, or does not fit.
          NotFiniteError: if a number in it is not finite.
        """
        if set(counters) != set(self.counts.NAMES):
            raise snapshot.SnapshotError(
                f"{path} is of a distributed run: continue it with scripts.launch"
            )
        learner, environment = self.experiment.learner, self.experiment.environment
        shapes = experiment_lib.state_shapes(self.experiment)
        arrays = snapshot.read_arrays(path, "learner")
        state_arrays.check_finite(arrays, f"{path}: learner", self._settings.seed)
        plain = jax.eval_shape(lambda x: plain_state.plain(learner, x), shapes)
        restored = state_arrays.from_host(path, arrays, learner.replay, plain)
        self.state = plain_state.packed(learner, restored)
        try:
            self.timestep = environment.set_state(snapshot.read_arrays(path, "environment"))
        except (RuntimeError, ValueError, KeyError) as error:
            raise snapshot.SnapshotError(f"{path}: the environments: {error}") from error
        if not environment.exact_resume:
            logging.warning("the running episodes are abandoned: they can't be restored")
            self.state = learner.cut(self.state)
        self.counts.counters = counters
        self._frames_before = counters["frames"]

    def contents(self, earlier: Path | None) -> snapshot.Contents:
        """The loop's part of a snapshot; see SnapshotStore.save."""
        replay = self.experiment.learner.replay
        learner = state_arrays.to_host(
            replay, plain_state.plain(self.experiment.learner, self.state)
        )
        state_arrays.check_finite(learner, "learner", self._settings.seed)
        return snapshot.Contents(
            counters=dict(self.counts.counters),
            arrays={"learner": learner, "environment": self.experiment.environment.get_state()},
            rows=state_arrays.copy_rows(replay, self.state, earlier),
        )

    def parameters(self, earlier: Path | None) -> snapshot.Contents:
        """The networks alone, as a snapshot has them; see SnapshotStore.save."""
        del earlier
        learner = state_arrays.params_to_arrays(
            plain_state.params(self.experiment.learner, self.state)
        )
        state_arrays.check_finite(learner, "learner", self._settings.seed)
        return snapshot.Contents(dict(self.counts.counters), {"learner": learner})

    @property
    def num_envs(self) -> int:
        """Environments of a seed."""
        return self._settings.num_envs

    @property
    def metric_names(self) -> list[str]:
        """Of what an iteration gives for the log."""
        return experiment_lib.metric_names(self.experiment)

    @property
    def is_offline(self) -> bool:
        """Whether updates remain to be done before anything is played."""
        return self.counts.counters["updates"] < self._settings.training.offline_updates

    def catch_up(self) -> Iteration:
        """Some of the updates that are due before the next step.

        These are offline ones, or of frames played beyond an end of the run that was moved since.
        """
        self._frames_before = self.counts.counters["frames"]
        to_multiple = _UPDATES_AT_ONCE - self.counts.counters["updates"] % _UPDATES_AT_ONCE
        number = min(self.counts.updates_behind, to_multiple)
        return Iteration(self._learn(number), [], number)

    def iterate(self, timer: stage_timer.StageTimer) -> Iteration:
        """One step of every environment; the learner works while the emulators do.

        Raises:
          NotFiniteError: if a reward or an observation is not finite.
        """
        learner, environment = self.experiment.learner, self.experiment.environment
        self._begin_iteration()
        timer.wait_for(self.state.train.updates)
        # Steps that start an episode count like all others.
        step_frames = self._settings.num_envs * self._settings.frames_per_step
        with timer.stage("act"):
            observed = experiment_lib.observed(self.timestep, learner)
            self.state, actions = learner.observe(self.state, observed)
            self.counts.report(self.counts.played + step_frames)
            # Before the actions are fetched: a GPU has the updates to do while they travel.
            num_updates = self.counts.updates_behind
            metrics = self._learn(num_updates)
            environment.send(np.asarray(actions).reshape(-1))
        with timer.stage("learn"):
            timer.wait_for(metrics)
        with timer.stage("environment"):
            self.timestep = self._receive()
        frames = self.counts.counters["frames"]
        episodes = [(frames, episode) for episode in environment.finished_episodes()]
        if self.counts.is_next_task_due:
            self.timestep = environment.next_task()
        return Iteration(metrics, episodes, num_updates)

    def _begin_iteration(self) -> None:
        """Goes to the next task, if the environment has."""
        self._frames_before = self.counts.counters["frames"]
        environment, task = self.experiment.environment, self.counts.counters["task"]
        if self.counts.is_next_task_due and environment.task == task:
            # Played whole while the run was to end within it; its updates are done since then.
            self.timestep = environment.next_task()
        if environment.task != task:
            self.state = self.experiment.task_switch.apply(self.state)
            self.counts.begin_task(self.experiment.task_switch.settings)

    def _learn(self, num_updates: int) -> Mapping[str, jax.Array] | None:
        if not num_updates:
            return None
        learner = self.experiment.learner
        copies = learner.copies_within(self.counts.counters["updates"], num_updates)
        self.state, metrics = learner.learn(self.state, num_updates, copies)
        self.counts.count_updates(num_updates)
        return metrics

    def _receive(self) -> dm_env.TimeStep:
        try:
            return self.experiment.environment.recv()
        except finite.NotFiniteError as error:
            # Environment arrays have a leading axis over all seeds' environments.
            k = error.index[0] // self._settings.num_envs if error.index else 0
            raise self.located(error, f", seed {self._settings.seed + k}") from error

    def located(self, error: finite.NotFiniteError, where: str = "") -> finite.NotFiniteError:
        """The same error, with frame and update added."""
        frames, updates = (self.counts.counters[name] for name in ("frames", "updates"))
        return finite.NotFiniteError(f"frame {frames}, update {updates}{where}: {error}")

    def is_due(self, period_frames: int) -> bool:
        """Whether the last iteration completed a multiple of a period (0: never)."""
        frames = self.counts.counters["frames"]
        return periods.is_completed(period_frames, self._frames_before, frames)

    def is_kept(self, frames: int) -> bool:
        """Whether a snapshot of that moment is one of snapshot.keep_at: the first not before it."""
        step = self._settings.num_envs * self._settings.frames_per_step
        return any(at <= frames < at + step for at in self._settings.snapshot.keep_at)

"""The training loop."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dm_env
import jax
import ml_collections
import numpy as np
from absl import logging

from core import finite
from envs import base as envs_base
from training import derived, run_directory
from training import experiment as experiment_lib
from training.acting import evaluation
from training.checkpoints import snapshot, state_arrays
from training.learning import update_schedule as update_schedule_lib
from training.logs import progress as progress_lib
from training.logs import recorder as recorder_lib
from training.logs import stage_timer
from training.system import stopping

_STAGES = ("act", "learn", "environment", "log", "evaluate", "snapshot")
_RECENT_EPISODES = 100
# task: of a sequence, from 0. schedule_updates: since the learning-rate schedule last began.
# idle_frames: of the present task, as the replay was being filled.
_COUNTERS: tuple[str, ...] = (
    "frames",
    "updates",
    "iterations",
    "episodes",
    "task",
    "schedule_updates",
    "idle_frames",
)


class Run:
    """A training run: its components, its state, and the files it writes."""

    def __init__(self, config: ml_collections.ConfigDict, path: Path):
        """Builds the run, and continues from the newest snapshot in `path` if there is one.

        Raises:
          ConfigError: if the configuration can't be run, the directory belongs to another, or
            another process is at work there.
          SnapshotError: if there are snapshots but none can be used.
        """
        given, config = config, derived.resolve(config)
        self.config = config
        self.path = path
        run_directory.check(path, given)
        run_directory.check_idle(path)
        self.experiment = experiment_lib.make(config)
        self.update_schedule = update_schedule_lib.UpdateSchedule.from_config(
            config, self.experiment.environment.frames_per_step, self.experiment.frames_per_task
        )
        self._directory = contextlib.ExitStack()
        self._directory.enter_context(run_directory.claimed(path, given))
        run_directory.append_provenance(path, config)
        self.counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)
        self.counters["idle_frames"] = self.update_schedule.fill_frames
        self.recent: deque[float] = deque(maxlen=_RECENT_EPISODES)
        self.timer = stage_timer.StageTimer()
        self.store = snapshot.SnapshotStore(path / "snapshots", config.snapshot.keep)
        gathered = self.store.restore(self._restore)
        if gathered is None:
            self._begin()
        logs: dict[str, int] = dict.fromkeys(recorder_lib.LOGS, self.counters["frames"])
        self.recorder = recorder_lib.Recorder(
            path, config, logs, experiment_lib.metric_names(self.experiment)
        )
        if gathered is None:
            self.recorder.norms(self.state.params, 0)
        else:
            self.recorder.set_state(gathered)
        whole_steps = -(-config.num_frames // self._step_frames) * self._step_frames
        self.progress = progress_lib.Progress(whole_steps, self.counters["frames"])

    def _begin(self) -> None:
        self.timestep = self.experiment.environment.reset()
        observed = experiment_lib.observed(self.timestep, self.experiment.learner)
        self.state = self.experiment.learner.init(self.config.seed, observed.observation)

    def _restore(self, path: Path, counters: dict[str, int]) -> dict[str, np.ndarray]:
        """Puts back learner, replay, emulators and counters; returns what is the recorder's."""
        if set(counters) != set(_COUNTERS):
            raise snapshot.SnapshotError(
                f"{path} is of a distributed run: continue it with scripts.launch"
            )
        shapes = experiment_lib.state_shapes(self.experiment)
        arrays = snapshot.read_arrays(path, "learner")
        state_arrays.check_finite(arrays, f"{path}: learner", self.config.seed)
        self.state = state_arrays.from_host(path, arrays, shapes, jax.devices()[0])
        environment = self.experiment.environment
        self.timestep = environment.set_state(snapshot.read_arrays(path, "environment"))
        if not environment.exact_resume:
            logging.warning("the running episodes are abandoned: they can't be restored")
            self.state = self.experiment.learner.cut(self.state)
        gathered = snapshot.read_arrays(path, "loop")
        self.recent.extend(gathered.pop("recent_returns").tolist())
        self.counters = counters
        logging.info("continuing from %s", path)
        return gathered

    @property
    def _step_frames(self) -> int:
        """Frames of one seed in a step of all its lanes."""
        return self.config.num_envs * self.experiment.environment.frames_per_step

    @property
    def is_finished(self) -> bool:
        """Whether all frames were played."""
        return self.counters["frames"] >= self.config.num_frames

    def iterate(self) -> None:
        """One step of every lane; the learner works while the emulators do."""
        timer, learner = self.timer, self.experiment.learner
        environment = self.experiment.environment
        if environment.task != self.counters["task"]:
            self._switch_task()
        timer.wait_for(self.state.updates)
        with timer.stage("act"):
            observed = experiment_lib.observed(self.timestep, learner)
            self.state, actions = learner.observe(self.state, observed)
            environment.send(np.asarray(actions).reshape(-1))
        self._count_step()
        with timer.stage("learn"):
            self._learn()
        with timer.stage("environment"):
            self.timestep = self._receive()
        self._count_episodes()
        if self.is_due(self.experiment.frames_per_task):
            self.timestep = environment.next_task()
        timer.next_iteration()

    def _receive(self) -> dm_env.TimeStep:
        try:
            return self.experiment.environment.recv()
        except finite.NotFiniteError as error:
            # An environment's arrays have an axis of all seeds' lanes in front.
            k = error.index[0] // self.config.num_envs if error.index else 0
            raise self._located(error, f", seed {self.config.seed + k}") from error

    def _located(self, error: finite.NotFiniteError, where: str = "") -> finite.NotFiniteError:
        """The same error, which tells the moment as well."""
        frames, updates = self.counters["frames"], self.counters["updates"]
        return finite.NotFiniteError(f"frame {frames}, update {updates}{where}: {error}")

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Around what leaves the run: an update that was not finite ends it before, with a row."""
        if self.recorder.not_finite():
            self.log()
        with self._telling_the_moment():
            yield

    @contextlib.contextmanager
    def _telling_the_moment(self) -> Iterator[None]:
        try:
            yield
        except finite.NotFiniteError as error:
            raise self._located(error) from error

    def _switch_task(self) -> None:
        """Begins the task that the environment has gone to, and forgets what is to be forgotten."""
        switch = self.experiment.task_switch
        self.state = switch.apply(self.state)
        self.counters["task"] = self.experiment.environment.task
        is_empty = switch.settings.clear_replay
        self.counters["idle_frames"] = self.update_schedule.fill_frames if is_empty else 0
        if switch.settings.restart_schedule:
            self.counters["schedule_updates"] = 0
        self.recent.clear()

    def _learn(self) -> None:
        counters = self.counters
        now = counters["frames"], counters["task"], counters["idle_frames"]
        num_updates = self.update_schedule.due(*now) - counters["updates"]
        if num_updates > 0:
            self.state, metrics = self.experiment.learner.learn(self.state, num_updates)
            counters["updates"] += num_updates
            counters["schedule_updates"] += num_updates
            self.recorder.learned(counters, metrics)
            self.timer.wait_for(metrics)
            if self.timer.is_measuring and self.recorder.not_finite():
                self.log()

    def _count_step(self) -> None:
        """Counts the frames of one seed. Steps that start an episode count like all others."""
        self.counters["frames"] += self._step_frames
        self.counters["iterations"] += 1

    def _count_episodes(self) -> None:
        for episode in self.experiment.environment.finished_episodes():
            self.counters["episodes"] += 1
            self.recent.append(episode.episode_return)
            self.recorder.episode(self.counters, episode)

    def is_due(self, period_frames: int) -> bool:
        """Whether this iteration completed a multiple of a period (0: never)."""
        frames = self.counters["frames"]
        before = frames - self._step_frames
        return bool(period_frames) and frames // period_frames > before // period_frames

    def log(self) -> None:
        """Writes the interval's numbers, and shows them.

        Raises:
          NotFiniteError: after that, if an update of the interval or the learning rate was not
            finite.
        """
        self.store.check()
        not_finite = self.recorder.not_finite()
        stage_times = self.timer.take(_STAGES)
        sizes = np.asarray(self.experiment.learner.replay_size(self.state))
        with self._telling_the_moment():
            numbers = self.recorder.interval(self.counters, sizes, stage_times)
        shown = {"return": float(np.mean(self.recent))} if self.recent else {}
        if not np.isnan(numbers["loss"]):
            shown["loss"] = numbers["loss"]
        self.progress.report(
            self.counters["frames"], numbers["frames_per_second"], self._task_label(), shown
        )
        if not_finite:
            raise finite.NotFiniteError(not_finite)

    def measure_layers(self) -> None:
        """Measures every layer on one batch and writes it down, and the norms."""
        with self._guarded():
            self.recorder.norms(self.state.params, self.counters["updates"])
            learner = self.experiment.learner
            if self.counters["updates"] and np.all(learner.replay_size(self.state)):
                self.recorder.layers(self.counters, jax.device_get(learner.measure(self.state)))

    def _task_label(self) -> str:
        """The game of a sequence and its number in the run; nothing where there is only one."""
        if not self.experiment.frames_per_task:
            return ""
        task = self.counters["task"]
        name = envs_base.task_name(envs_base.task_config(self.config.environment, task))
        num_tasks = -(-self.config.num_frames // self.experiment.frames_per_task)
        return f"{name} ({task + 1} of {num_tasks})"

    @property
    def must_evaluate(self) -> bool:
        """Whether an evaluation is due that is not written down, as when the last was stopped."""
        is_due = self.is_due(self.config.evaluation.period_frames)
        return is_due and self.recorder.last_evaluation() < self.counters["frames"]

    def evaluate(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Plays whole episodes with the present parameters of every seed, in fresh environments.

        Of a sequence: the present game, or every game so far if evaluation.all_games is set.

        Raises:
          stopping.Stopped: `stop` said so; nothing is written down then.
        """
        task = self.counters["task"]
        tasks = range(task + 1) if self.config.evaluation.all_games else (task,)
        environments = (envs_base.task_config(self.config.environment, i) for i in tasks)
        by_name = {envs_base.task_name(environment): environment for environment in environments}
        with self._guarded():
            params = state_arrays.to_arrays(self.state.params)
            state_arrays.check_finite(params, "params", self.config.seed)
            played = {
                (name, k): self._play_evaluation(environment, k, stop)
                for name, environment in by_name.items()
                for k in range(self.config.num_seeds)
            }
            for (name, k), episodes in played.items():
                mean = self.recorder.evaluation(self.counters, k, name, episodes)
                self.progress.write(
                    f"frame {self.counters['frames']}, seed {self.config.seed + k}, {name}: "
                    f"evaluation return {mean:.2f} over {len(episodes)} episodes"
                )

    def _play_evaluation(
        self, environment: Mapping[str, Any], k: int, stop: Callable[[], bool]
    ) -> list[envs_base.Episode]:
        config = self.config.evaluation
        return self.experiment.evaluator.play(
            jax.tree.map(lambda x: x[k], self.state.params),
            environment,
            config.num_envs,
            config.episodes,
            evaluation.seed(self.config.seed, k, self.counters["frames"], config.period_frames),
            stop,
            self.progress.write,
        )

    def save(self) -> None:
        """Begins to write a snapshot; returns when the state is copied to the host."""
        with self._guarded():
            self.store.save(self._contents)

    def _contents(self, earlier: Path | None) -> snapshot.Contents:
        learner = state_arrays.to_host(self.state)
        state_arrays.check_finite(learner, "learner", self.config.seed)
        return snapshot.Contents(
            counters=dict(self.counters),
            arrays={
                "learner": learner,
                "environment": self.experiment.environment.get_state(),
                "loop": {
                    "recent_returns": np.array(self.recent, np.float64),
                    **self.recorder.get_state(),
                },
            },
            rows=state_arrays.copy_rows(self.state, earlier),
        )

    def close(self) -> None:
        """Waits for the last snapshot, frees the emulators, and leaves the directory."""
        with self._directory:
            self.progress.close()
            self.recorder.close()
            self.experiment.environment.close()
            self.store.wait()


def train(config: ml_collections.ConfigDict, path: Path) -> bool:
    """Trains until all frames are played, or until SIGINT or SIGTERM.

    The same call continues a run that was stopped or killed from its newest snapshot.

    Returns:
      Whether the run is finished.

    Raises:
      ConfigError: if the configuration can't be run, or the directory belongs to another.
      SnapshotError: if a snapshot can't be read or written.
      NotFiniteError: after an update, or on a reward or observation, that was not finite. No
        snapshot comes after it.
    """
    # Until the run has begun a signal has its usual effect: nothing is half done at any moment.
    run = Run(config, path)
    with stopping.StopRequest() as stop:
        try:
            return _train(run, stop)
        finally:
            run.close()


def _train(run: Run, stop: stopping.StopRequest) -> bool:
    begin = run.counters["frames"]
    # An evaluation that was stopped is made when the run continues.
    with contextlib.suppress(stopping.Stopped):
        _work(run, stop)
    if run.counters["frames"] > begin:
        run.save()
    return run.is_finished and not run.must_evaluate


def _work(run: Run, stop: stopping.StopRequest) -> None:
    config, timer = run.config, run.timer
    if run.must_evaluate:
        run.evaluate(lambda: stop.requested)
    while not (run.is_finished or stop.requested):
        run.iterate()
        run.progress.advance(run.counters["frames"])
        if run.is_due(config.log.layers_period_frames):
            run.measure_layers()
        # A row of train.csv is about one game only, and the last is about the end.
        is_end = run.is_finished or run.is_due(run.experiment.frames_per_task)
        if is_end or run.is_due(config.log.period_frames):
            with timer.stage("log", always=True):
                run.log()
        if run.is_due(config.evaluation.period_frames):
            with timer.stage("evaluate", always=True):
                run.evaluate(lambda: stop.requested)
        if run.is_due(config.snapshot.period_frames):
            with timer.stage("snapshot", always=True):
                run.save()

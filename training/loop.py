"""A run of one process: its directory, what it writes there, and when."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging

from core import finite, progress
from envs import base as envs_base
from training import agent_loop, closed_loop, derived, periods, run_directory, run_settings
from training import experiment as experiment_lib
from training.acting import task_evaluation
from training.checkpoints import snapshot, state_arrays
from training.learning import plain_state
from training.logs import run_recorder, stage_timer
from training.logs.sinks import weights_and_biases
from training.system import stopping

_STAGES = ("act", "learn", "environment", "log", "evaluate", "snapshot")
_RECENT_EPISODES = 100


class Run:
    """A training run: its loop, and the files it writes.

    Attributes:
      saved: the counters of the newest snapshot of this start; {} if there is none.
    """

    def __init__(self, config: ml_collections.ConfigDict, path: Path):
        """Builds the run, and continues from the newest snapshot in `path` if there is one.

        Raises:
          ConfigError: if the configuration can't be run, the directory belongs to another, or
            another process is at work there.
          SnapshotError: if there are snapshots but none can be used.
        """
        given, config = config, derived.resolve(config)
        self.settings = settings = run_settings.parse(config)
        self.path = path
        weights_and_biases.check(settings.log.wandb)
        run_directory.check(path, given)
        run_directory.check_idle(path)
        self.experiment = experiment_lib.make(settings)
        self.loop = closed_loop.make(settings, self.experiment)
        is_new = not snapshot.list_saved(path / "snapshots")
        recorded = agent_loop.load_dataset(settings, self.experiment) if is_new else None
        self._directory = contextlib.ExitStack()
        self._directory.enter_context(run_directory.claimed(path, given))
        run_directory.append_provenance(path, config)
        self.recent: deque[float] = deque(maxlen=_RECENT_EPISODES)
        self.saved: dict[str, int] = {}
        self.timer = stage_timer.StageTimer()
        self.store = snapshot.of_run(path, settings.snapshot.keep, self.loop.is_kept)
        self.parameters = snapshot.SnapshotStore(path / "parameters", keep=1, stays=lambda _: True)
        gathered = self.store.restore(self._restore)
        if gathered is None:
            self.loop.begin(recorded)
        self._open_recorder(gathered)
        self.evaluation = task_evaluation.TaskEvaluation(
            settings, self.experiment.evaluator, self.recorder
        )
        assert settings.num_frames is not None, "resolved"
        self.progress = progress.Progress(
            settings.num_frames, "frame", self.counters["frames"], line_seconds=math.inf
        )

    def _open_recorder(self, gathered: dict[str, np.ndarray] | None) -> None:
        # A new run keeps no row, not even that of frame 0.
        frames, updates = -1, None
        if gathered is not None:
            frames, updates = self.counters["frames"], self.counters["updates"]
        logs: dict[str, int] = dict.fromkeys(run_recorder.LOGS, frames)
        self.recorder = run_recorder.Recorder(
            self.path, self.settings, logs, self.loop.metric_names, updates
        )
        if gathered is None:
            self._record_norms()
        else:
            self.recorder.gathered.set_state(gathered)

    def _restore(self, path: Path, counters: dict[str, int]) -> dict[str, np.ndarray]:
        """Restores the loop and recent returns; returns the recorder's state."""
        self.loop.restore(path, counters)
        gathered = snapshot.read_arrays(path, "loop")
        self.recent.extend(gathered.pop("recent_returns").tolist())
        logging.info("continuing from %s", path)
        return gathered

    @property
    def counters(self) -> dict[str, int]:
        """The loop's."""
        return self.loop.counts.counters

    def iterate(self) -> None:
        """Does and records one iteration of the loop, or updates that are due before it."""
        task = self.counters["task"]
        is_behind = bool(self.loop.counts.updates_behind)
        done = self.loop.catch_up() if is_behind else self.loop.iterate(self.timer)
        if self.counters["task"] != task:
            self.recent.clear()
        if done.metrics is not None:
            self.recorder.learned(self.counters, done.metrics, done.num_updates)
            if self.timer.is_measuring and self.recorder.gathered.not_finite():
                self.log()
        self.timer.next_iteration()
        for frames, episode in done.episodes:
            self.counters["episodes"] += 1
            self.recent.append(episode.episode_return)
            self.recorder.episode({**self.counters, "frames": frames}, episode)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Guards what leaves the run: a non-finite update ends the run first, with a row."""
        if self.recorder.gathered.not_finite():
            self.log()
        try:
            yield
        except finite.NotFiniteError as error:
            raise self.loop.located(error) from error

    def log(self) -> None:
        """Writes the interval's numbers, and shows them.

        Raises:
          NotFiniteError: after that, if an update of the interval was not finite.
        """
        self.store.check()
        self.parameters.check()
        not_finite = self.recorder.gathered.not_finite()
        stage_times = self.timer.take(_STAGES)
        sizes = np.asarray(self.experiment.learner.replay_size(self.loop.state))
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
        """Records the norms, and a measurement of every layer on one batch."""
        with self._guarded():
            self._record_norms()
            learner, state = self.experiment.learner, self.loop.state
            if self.counters["updates"] and np.all(learner.replay_size(state)):
                self.recorder.layers(self.counters, jax.device_get(learner.measure(state)))

    def measure_on_probe(self, log: str) -> None:
        """Measures units, ranks or the network on the replay's transitions and writes that down.

        Args:
          log: "units", "ranks" or "network".
        """
        with self._guarded():
            parts, state = self.experiment, self.loop.state
            if not np.all(parts.learner.replay_size(state)):
                return
            measured = jax.device_get(getattr(parts.measurements, log)(state))
            if log == "network":
                self.recorder.network(self.counters, measured)
            else:
                self.recorder.probe(log, self.counters, measured)

    def _record_norms(self) -> None:
        norms = [self.experiment.learner.agent.norms(params) for params in _params_by_seed(self)]
        self.recorder.norms(norms, self.counters["updates"])

    def _task_label(self) -> str:
        """The task of a sequence and its number in the run; empty if there is only one."""
        settings = self.settings
        if not settings.frames_per_task or settings.num_frames is None:
            return ""
        task = self.counters["task"]
        name = envs_base.task_name(envs_base.task(settings.environment, task))
        num_tasks = -(-settings.num_frames // settings.frames_per_task)
        return f"{name} ({task + 1} of {num_tasks})"

    @property
    def must_evaluate(self) -> bool:
        """Whether an evaluation is due but not recorded, as when the last was stopped.

        The first of a run with offline updates is due after them.
        """
        period_frames = self.settings.evaluation.period_frames
        last = self.recorder.last_evaluation()
        if last < 0 and self.settings.training.offline_updates:
            return bool(period_frames) and not self.loop.is_offline
        return periods.is_completed(period_frames, max(last, 0), self.counters["frames"])

    def evaluate(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Plays whole episodes with the current parameters of every seed, in fresh environments.

        Raises:
          stopping.Stopped: `stop` said so; nothing is recorded then.
        """
        with self._guarded():
            params = state_arrays.to_arrays(_params(self))
            state_arrays.check_finite(params, "params", self.settings.seed)
            self.evaluation.evaluate(
                self.counters, _params_by_seed(self), stop, self.progress.write
            )

    def save(self, parameters_only: bool = False) -> None:
        """Starts writing a snapshot, or parameters; returns once they are copied to the host."""
        with self._guarded():
            if parameters_only:
                self.parameters.save(self.loop.parameters)
            else:
                self.store.save(self._contents)
                self.saved = dict(self.counters)

    def _contents(self, earlier: Path | None) -> snapshot.Contents:
        contents = self.loop.contents(earlier)
        contents.arrays["loop"] = {
            "recent_returns": np.array(self.recent, np.float64),
            **self.recorder.gathered.get_state(),
        }
        return contents

    def close(self) -> None:
        """Waits for the last snapshot; frees the emulators and the directory."""
        with self._directory:
            self.progress.close()
            self.recorder.close()
            self.experiment.environment.close()
            self.store.wait()
            self.parameters.wait()


def _params(run: Run) -> Any:
    return plain_state.params(run.experiment.learner, run.loop.state)


def _params_by_seed(run: Run) -> list:
    params, num_seeds = _params(run), run.settings.num_seeds
    return [jax.tree.map(lambda x: x[k], params) for k in range(num_seeds)]  # noqa: B023


def train(config: ml_collections.ConfigDict, path: Path) -> bool:
    """Trains until all frames are played, or until SIGINT or SIGTERM.

    The same call continues a stopped or killed run from its newest snapshot.

    Returns:
      Whether the run is finished.

    Raises:
      ConfigError: if the configuration can't be run, or the directory belongs to another.
      SnapshotError: if a snapshot can't be read or written.
      NotFiniteError: after a non-finite update, or on a non-finite reward or observation. No
        snapshot follows.
    """
    # Until the run has begun, a signal has its usual effect: nothing is ever half done.
    run = Run(config, path)
    with stopping.StopRequest() as stop:
        try:
            return _train(run, stop)
        finally:
            run.close()


def _train(run: Run, stop: stopping.StopRequest) -> bool:
    begin = dict(run.counters)
    is_new = not (begin["frames"] or begin["updates"])
    if is_new and run.settings.snapshot.parameters_period_frames:
        run.save(parameters_only=True)
    # A stopped evaluation is repeated when the run continues.
    with contextlib.suppress(stopping.Stopped):
        if run.must_evaluate:
            run.evaluate(lambda: stop.requested)
        _learn_offline(run, stop)
        _work(run, stop)
    if run.counters not in (begin, run.saved):
        run.save()
    return run.loop.counts.is_finished and not run.must_evaluate


def _learn_offline(run: Run, stop: stopping.StopRequest) -> None:
    """The updates before anything is played, with a row for each part.

    A snapshot follows as many updates as there are between two snapshots of a run that plays.
    """
    if not run.loop.is_offline:
        return
    settings = run.settings
    period_updates = settings.snapshot.period_frames // settings.training.update_period_frames
    while run.loop.is_offline and not stop.requested:
        done = run.counters["updates"]
        run.iterate()
        run.log()
        if periods.is_completed(period_updates, done, run.counters["updates"]):
            run.save()
    if run.must_evaluate:
        run.evaluate(lambda: stop.requested)


def _work(run: Run, stop: stopping.StopRequest) -> None:
    settings, timer, loop, counts = run.settings, run.timer, run.loop, run.loop.counts
    while not (counts.is_finished or stop.requested):
        run.iterate()
        run.progress.advance(run.counters["frames"])
        if loop.is_due(settings.log.layers_period_frames):
            run.measure_layers()
        for log in ("units", "ranks", "network"):
            if loop.is_due(getattr(settings.log, f"{log}_period_frames")):
                run.measure_on_probe(log)
        # A row of train.csv covers one task only, and the last covers the end.
        if counts.is_task_over or loop.is_due(settings.log.period_frames):
            with timer.stage("log", always=True):
                run.log()
        # Before an evaluation, which a stop ends: these are not made up for later.
        if loop.is_due(settings.snapshot.parameters_period_frames):
            with timer.stage("snapshot", always=True):
                run.save(parameters_only=True)
        if loop.is_due(settings.evaluation.period_frames):
            with timer.stage("evaluate", always=True):
                run.evaluate(lambda: stop.requested)
        if loop.is_due(settings.snapshot.period_frames) or loop.is_kept(run.counters["frames"]):
            with timer.stage("snapshot", always=True):
                run.save()

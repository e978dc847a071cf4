"""The role `learner`: draws batches, updates the agent, and owns the run's counts and files.

It does as many updates as the loop of one process does for the same frames: training.loop's
formula, over the frames that the actors report. The server's rate limiter keeps the actors from
running ahead of it.
"""

import collections
import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from envs import base as envs_base
from replay import wire
from replay.reverb import batches, connection, priorities, settings
from training import (
    csv_log,
    experiment,
    policy,
    run_directory,
    sharded,
    snapshot,
    state_arrays,
    stopping,
)
from training import progress as progress_lib
from training import recorder as recorder_lib
from training import task_switch as task_switch_lib
from training.roles import base, feed, ledger, messages, publisher

FINISHED, STOPPED = 0, 3
_COUNTERS: tuple[str, ...] = (
    "frames",
    "updates",
    "episodes",
    "task",
    "schedule_updates",
    "idle_frames",
    # Updates done, and steps added, when the replay and the importance schedule began anew.
    "cleared_updates",
    "importance_start",
)
_RECENT_EPISODES = 100
_BATCH_WAIT_S = 0.2
_IDLE_S = 0.005
_REPORTS_S = 0.02
_RETRY_S = 0.5
_STATUS_S = 1.0
_CHECKPOINT_S = 1800.0
_LAST_CHECKPOINT_S = 300.0
_NEVER = 2**62  # frames: of rows that are facts, whatever the learner has forgotten
_STAGES = ("batch", "learn")


def run(role: base.Role) -> int:
    """Learns until all frames are played and all their updates done, or until SIGINT or SIGTERM.

    Returns:
      The exit code: 0 if the run is finished, 3 if not.
    """
    with stopping.StopRequest() as stop:
        learner = Learner(role, lambda: stop.requested)
        try:
            with contextlib.suppress(connection.Stopped):
                learner.learn()
            learner.save_and_wait()
        finally:
            learner.close()
    return FINISHED if learner.is_finished else STOPPED


class Learner:
    """The learner's state, counts and connections."""

    def __init__(self, role: base.Role, stop: Callable[[], bool]):
        """Builds the agent, and continues from the newest snapshot if there is one.

        Args:
          role: the learner's.
          stop: whether the process was asked to end.

        Raises:
          ConfigError: if the configuration can't be run, or the directory belongs to another.
          SnapshotError: if there are snapshots but none can be used.
        """
        self._role, self._stop = role, stop
        self._config: Any = role.config
        self._path = role.run_dir
        experiment.verify(self._config)
        self._build()
        run_directory.claim(self._path, self._config)
        run_directory.append_provenance(self._path)
        self._restore_or_begin()
        self._open_files()
        self._feed = feed.Feed(role, self._spec, self._weights, stop)
        self._publisher = publisher.Publisher(self._connect)
        self._checkpointer = concurrent.futures.ThreadPoolExecutor(1)
        self._checkpoint: concurrent.futures.Future | None = None
        self._confirmed: Mapping[int, int] = {}
        self._newest: batches.Batch | None = None
        self._told_at, self._told = time.monotonic(), dict(self._counters)
        self._reported_at = 0.0

    def _connect(self, stop: Callable[[], bool]) -> wire.Client:
        return connection.connect(self._role.address_file, stop, self._role.label)

    def _build(self) -> None:
        config = self._config
        self._spec, action_spec = policy.environment_specs(config)
        self._frames_per_step = envs_base.frames_per_step(config.environment)
        self._frames_per_task = experiment.frames_per_task(config, self._frames_per_step)
        devices = sharded.choose_devices(
            config.distributed.learner_devices, config.replay.batch_size
        )
        self._update = sharded.ShardedUpdate(
            experiment.make_update(config, action_spec), experiment.make_importance(config), devices
        )
        self._switch = task_switch_lib.SwitchSettings.from_config(config.task_switch)
        replay = config.replay
        self._weights = priorities.SamplingWeights(replay.priority_exponent, replay.uniform_mix)
        # For the shape of new parameters.
        self._stack: Any = np.zeros(
            policy.observation_shape(config, self._spec), np.dtype(self._spec.dtype)
        )

    def _restore_or_begin(self) -> None:
        self._ledger = ledger.Ledger()
        self._recent: collections.deque[float] = collections.deque(maxlen=_RECENT_EPISODES)
        self._counters: dict[str, int] = dict.fromkeys(_COUNTERS, 0)
        self._counters["idle_frames"] = self._frames_before_learning
        self._store = snapshot.SnapshotStore(self._path / "snapshots", self._config.snapshot.keep)
        self._gathered = self._store.restore(self._restore)
        if self._gathered is None:
            self._state = self._update.init(self._config.seed, self._stack)

    def _restore(self, path: Path, counters: dict[str, int]) -> dict[str, np.ndarray]:
        """Puts back the state and the counts; returns what is the recorder's."""
        if set(counters) != set(_COUNTERS):
            raise snapshot.SnapshotError(
                f"{path} is of a run of one process: continue it with scripts.train"
            )
        shapes = jax.eval_shape(
            lambda: _with_seed_axis(self._update.init(self._config.seed, self._stack))
        )
        arrays = snapshot.read_arrays(path, "learner")
        state = state_arrays.from_arrays(path, arrays, shapes)
        self._state = self._update.put(jax.tree.map(lambda x: x[0], state))
        self._counters = counters
        gathered = snapshot.read_arrays(path, "loop")
        self._recent.extend(gathered.pop("recent_returns").tolist())
        self._ledger.set_state(gathered)
        del gathered["ledger"]
        largest, mean = gathered.pop("weights").tolist()
        self._weights.restore(largest, mean)
        logging.info("continuing from %s", path)
        return gathered

    def _open_files(self) -> None:
        frames, path = self._counters["frames"], self._path
        names = self._update.metric_names(
            jax.eval_shape(lambda: self._update.init(0, self._stack)), self._empty_batch()
        )
        # Rows of the evaluator are not the learner's to drop; nor are episodes that were played.
        logs = {"train": frames, "layers": frames, "episodes": _NEVER}
        self._recorder = recorder_lib.Recorder(path, self._config, logs, names)
        if self._gathered is None:
            self._recorder.norms(_with_seed_axis(self._state.params), 0)
        else:
            self._recorder.set_state(self._gathered)
        episodes = path / "episodes.csv"
        if episodes.exists():
            rows = csv_log.read_rows(episodes)
            self._ledger.note_episodes((int(row["life"]), int(row["episode"])) for row in rows)
        self._progress = progress_lib.Progress(self._config.num_frames, frames)

    def _empty_batch(self) -> sharded.Batch:
        """Shapes of a batch."""
        config, spec = self._config, self._spec
        shape = (config.replay.batch_size, *policy.observation_shape(config, spec)[1:])
        return sharded.batch_shapes(shape, spec.dtype)

    @property
    def _frames_before_learning(self) -> int:
        return self._config.replay.min_size * self._frames_per_step

    @property
    def is_finished(self) -> bool:
        """Whether all frames were played and all their updates done."""
        counters = self._counters
        is_played = counters["frames"] >= self._config.num_frames
        is_last_task = self._end_of_task() >= self._config.num_frames
        return is_played and is_last_task and counters["updates"] >= self._due_updates()

    def _end_of_task(self) -> int:
        """The frame at which the present task ends."""
        if not self._frames_per_task:
            return self._config.num_frames
        end = (self._counters["task"] + 1) * self._frames_per_task
        return min(end, self._config.num_frames)

    def _due_updates(self) -> int:
        """Updates that should have been done by now; see training.loop."""
        frames = min(self._counters["frames"], self._end_of_task())
        learning_frames = frames - self._counters["idle_frames"]
        return max(0, learning_frames // self._config.training.update_period_frames)

    def learn(self) -> None:
        """Learns until the run is finished or is to stop, whatever happens to the others.

        Raises:
          connection.Stopped: the process was asked to end while something was waited for.
        """
        self._publish_parameters()
        self._tell()
        self._open_feed()
        while not (self.is_finished or self._stop()):
            try:
                self._iterate()
            except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
                logging.warning("%s; connecting again", error)
                self._open_feed()

    def _open_feed(self) -> None:
        counters, batch_size = self._counters, self._config.replay.batch_size
        while True:
            try:
                used = batch_size * (counters["updates"] - counters["cleared_updates"])
                return self._feed.open(used)
            except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
                logging.warning("%s; connecting again", error)
                time.sleep(_RETRY_S)

    def _iterate(self) -> None:
        """Takes reports, does one update if it is due, and whatever else is."""
        before = self._counters["frames"]
        self._take_reports()
        if self._counters["updates"] < self._due_updates():
            self._learn_one_batch()
        elif self._counters["frames"] >= self._end_of_task() and not self.is_finished:
            self._switch_task()
        else:
            time.sleep(_IDLE_S)
        self._write_what_is_due(before)
        self._progress.advance(self._counters["frames"])
        if time.monotonic() - self._told_at > _STATUS_S:
            self._tell()

    def _take_reports(self) -> None:
        now = time.monotonic()
        if now - self._reported_at < _REPORTS_S:
            return
        self._reported_at = now
        for report in self._feed.reports():
            for number, episode in self._ledger.take(report):
                self._counters["episodes"] += 1
                self._recent.append(episode.episode_return)
                where = {"actor": report.actor, "life": report.life, "episode": number}
                played = envs_base.Episode(*episode)
                self._recorder.episode(self._counters, played, where)
        self._counters["frames"] = max(self._counters["frames"], self._ledger.frames)
        self._set_status()

    def _learn_one_batch(self) -> None:
        batch = self._feed.batch(_BATCH_WAIT_S)
        if batch is None:
            return
        on_device = self._update.put_batch(batch.transition, batch.probabilities)
        self._state, new_priorities, metrics = self._update.learn(
            self._state, on_device, self._importance_steps()
        )
        self._feed.prioritize(batch, new_priorities)
        self._newest = batch
        self._counters["updates"] += 1
        self._counters["schedule_updates"] += 1
        self._recorder.learned(_with_seed_axis(metrics))
        if self._counters["updates"] % self._config.distributed.publish_period_updates == 0:
            self._publish_parameters()

    def _importance_steps(self) -> np.ndarray:
        steps = self._counters["frames"] // self._frames_per_step
        return np.array(steps - self._counters["importance_start"], np.int32)

    def _publish_parameters(self) -> None:
        counters = self._counters
        self._publisher.set_parameters(
            messages.Parameters(
                frames=counters["frames"],
                updates=counters["updates"],
                task=counters["task"],
                schedule_updates=counters["schedule_updates"],
                # A copy: the next update takes the memory of this, and the host waits elsewhere.
                params=jax.tree.map(jnp.copy, self._state.params),
            )
        )

    def _set_status(self, finished: bool = False) -> None:
        counters = self._counters
        self._publisher.set_status(
            messages.Status(
                frames=counters["frames"],
                updates=counters["updates"],
                task=self._task_to_play(),
                finished=finished,
                version=0,
                hold=self._is_far_behind(),
                weight=self._weights.of_new(),
                confirmed=self._confirmed,
                episodes=dict(self._ledger.episodes),
            )
        )

    def _is_far_behind(self) -> bool:
        """Whether all frames are played, or more updates are due than the limiter should let be.

        It counts transitions, which not every step makes, and samples, which a learner that was
        killed draws twice: alone, it would let the actors run further and further ahead. As long as
        the table has too few transitions to draw from, the actors must go on.
        """
        if self._newest is None:
            return False
        behind = self._due_updates() - self._counters["updates"]
        is_played = self._counters["frames"] >= self._config.num_frames
        return is_played or behind > settings.updates_ahead(self._config, self._role.num_actors)

    def _task_to_play(self) -> int:
        """What the actors shall play: the next task as soon as the frames of this one are there."""
        if not self._frames_per_task:
            return 0
        is_over = self._counters["frames"] >= self._end_of_task() < self._config.num_frames
        return self._counters["task"] + is_over

    def _switch_task(self) -> None:
        """Begins the next task, when all actors have."""
        task = self._counters["task"] + 1
        alive = self._ledger.alive()
        if not alive or any(report.task < task for report in alive):
            time.sleep(_IDLE_S)
            return
        end = self._end_of_task()
        rng, rng_params = jax.random.split(self._state.rng)
        trained = task_switch_lib.switch_trained(
            self._switch, self._update.update, self._state.trained, rng_params, self._stack
        )
        self._state = self._update.put(sharded.State(*trained, rng))
        counters = self._counters
        counters["task"] = task
        if self._switch.restart_importance:
            counters["importance_start"] = counters["frames"] // self._frames_per_step
        if self._switch.restart_schedule:
            counters["schedule_updates"] = 0
        if self._switch.clear_replay:
            self._clear_replay(end)
        self._recent.clear()
        self._publish_parameters()

    def _clear_replay(self, end_of_task: int) -> None:
        counters = self._counters
        self._feed.clear()
        self._newest = None
        counters["cleared_updates"] = counters["updates"]
        # What was played of the next game already is cleared as well.
        overshoot = counters["frames"] - end_of_task
        counters["idle_frames"] += self._frames_before_learning + overshoot
        # A server that is restored from before would bring the old transitions back.
        self._save()

    def _write_what_is_due(self, before: int) -> None:
        config = self._config
        if self._is_due(config.log.layers_period_frames, before):
            self._measure_layers()
        if self._is_due(config.log.period_frames, before) or self.is_finished:
            self._log()
        if self._is_due(config.snapshot.period_frames, before):
            self._save()
        self._collect_checkpoint()

    def _is_due(self, period_frames: int, before: int) -> bool:
        """Whether a multiple of a period (0: never) was completed since there were `before`."""
        frames = self._counters["frames"]
        return bool(period_frames) and frames // period_frames > before // period_frames

    def _measure_layers(self) -> None:
        self._recorder.norms(_with_seed_axis(self._state.params), self._counters["updates"])
        batch = self._newest
        if batch is not None:
            on_device = self._update.put_batch(batch.transition, batch.probabilities)
            measured = self._update.measure(self._state, on_device, self._importance_steps())
            self._recorder.layers(self._counters, _with_seed_axis(jax.device_get(measured)))

    def _log(self) -> None:
        sizes = np.array([self._replay_size()])
        numbers = self._recorder.interval(self._counters, sizes, {})
        shown = {"return": float(np.mean(self._recent))} if self._recent else {}
        if not np.isnan(numbers["loss"]):
            shown["loss"] = numbers["loss"]
        self._progress.report(
            self._counters["frames"], numbers["frames_per_second"], self._game(), shown
        )

    def _replay_size(self) -> int:
        """Transitions in the table when a batch was last drawn; before that, those on their way."""
        if self._newest is None:
            return min(self._ledger.transitions, self._config.replay.capacity)
        return self._newest.table_size

    def _game(self) -> str:
        environment = self._config.environment
        return envs_base.task_name(envs_base.task_config(environment, self._counters["task"]))

    def _tell(self) -> None:
        """Writes this process's status, for those who look on."""
        now, counters, told = time.monotonic(), self._counters, self._told
        seconds = max(now - self._told_at, 1e-3)
        numbers = {
            "frames": counters["frames"],
            "num_frames": self._config.num_frames,
            "updates": counters["updates"],
            "frames_per_second": (counters["frames"] - told["frames"]) / seconds,
            "updates_per_second": (counters["updates"] - told["updates"]) / seconds,
            "transitions": self._ledger.transitions,
            "replay_size": self._replay_size(),
            "game": self._game(),
        }
        if self._recent:
            numbers["mean_return"] = float(np.mean(self._recent))
        self._role.write_status(numbers)
        self._told_at, self._told = now, dict(counters)

    def _save(self) -> None:
        """Begins a snapshot here and a checkpoint there; a disk that fails stops neither run."""
        self._save_snapshot()
        if self._checkpoint is None and self._feed.is_open:
            incarnation = self._feed.incarnation
            confirmed = self._ledger.confirmed(messages.short_incarnation(incarnation))
            self._checkpoint = self._checkpointer.submit(
                _checkpoint, self._feed.client, incarnation, confirmed
            )

    def _save_snapshot(self) -> None:
        # The first attempt may only tell that the write before it failed.
        for _ in range(2):
            try:
                self._store.save(self._contents)
                return
            except snapshot.SnapshotError as error:
                logging.error("%s; the run goes on", error)

    def _collect_checkpoint(self) -> None:
        """Lets the actors forget what a finished checkpoint has."""
        if self._checkpoint is None or not self._checkpoint.done():
            return
        error = self._checkpoint.exception()
        if error is None:
            self._confirmed = self._checkpoint.result()
        else:
            logging.error("replay not checkpointed: %s; the run goes on", error)
        self._checkpoint = None

    def _contents(self, earlier: Path | None) -> snapshot.Contents:
        del earlier
        return snapshot.Contents(
            counters=dict(self._counters),
            arrays={
                "learner": state_arrays.to_arrays(_with_seed_axis(self._state)),
                "loop": {
                    "recent_returns": np.array(self._recent, np.float64),
                    "weights": np.array([self._weights.largest, self._weights.mean]),
                    **self._ledger.get_state(),
                    **self._recorder.get_state(),
                },
            },
        )

    def save_and_wait(self) -> None:
        """Writes a last snapshot and a last checkpoint."""
        self._publish_parameters()
        self._set_status(finished=self.is_finished)
        self._save()
        try:
            self._store.wait()
        except snapshot.SnapshotError as error:
            logging.error("%s", error)
        if self._checkpoint is not None:
            concurrent.futures.wait([self._checkpoint], _LAST_CHECKPOINT_S)
            self._collect_checkpoint()

    def close(self) -> None:
        """Ends threads and connections; a checkpoint under way as well."""
        self._progress.close()
        self._recorder.close()
        self._tell()
        self._publisher.close()
        self._feed.close()
        self._checkpointer.shutdown(wait=False)


def _checkpoint(
    client: wire.Client, incarnation: int, confirmed: Mapping[int, int]
) -> Mapping[int, int]:
    """Has the server write a checkpoint; returns what is in it of the actors' journals.

    Raises:
      wire.WireError: it was not written, or by another incarnation than `confirmed` is about.
    """
    path = client.checkpoint(_CHECKPOINT_S)
    if client.incarnation() != incarnation:
        raise wire.WireError(f"checkpoint {path}: the server was restarted meanwhile")
    return confirmed


def _with_seed_axis(tree: Any) -> Any:
    """A leading axis for the seeds, of which there is one: as the files of all runs have it."""
    return jax.tree.map(lambda x: x[None], tree)

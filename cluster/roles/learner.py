"""The role `learner`: draws batches, updates the agent, and owns the run's counts and files.

It does as many updates as the loop of one process does for the same frames, over those that the
actors report, and tells the actors how far they may play: there is no other account of the two.
"""

import collections
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from cluster import context
from cluster.accounts import actor_accounts, run_counts
from cluster.messages import messages, publisher
from cluster.roles import replay_reader, saving
from core import finite
from envs import base as envs_base
from replay.reverb import connection, wire
from replay.reverb.sampling import batches, priorities
from training import experiment, run_directory
from training.acting import policy
from training.checkpoints import snapshot, state_arrays
from training.learning import sharded
from training.learning import task_switch as task_switch_lib
from training.learning import update_schedule as update_schedule_lib
from training.logs import csv_log
from training.logs import progress as progress_lib
from training.logs import recorder as recorder_lib
from training.system import stopping

_RECENT_EPISODES = 100
_BATCH_WAIT_S = 0.2
_IDLE_S = 0.005
_REPORTS_S = 0.02
_RETRY_S = 0.5
_STATUS_S = 1.0
_LAST_CHECKPOINT_S = 300.0
# Without a report for so long, the connection may be gone without having said so.
_SILENT_S = 10.0
# What the evaluator is given to fetch the parameters that a task ends with.
_LEAVE_S = 1.0
# The share of the credit that is not kept back until the next status is due.
_URGENT_SHARE = 4
# A checkpoint comes before so much of the table is new: what is then sent again to a restored
# server is never older than what the table would hold.
_CHECKPOINT_SHARE = 2


def run(role: context.Role) -> int:
    """Learns until all frames are played and all their updates done, or until SIGINT or SIGTERM.

    Returns:
      The exit code: 0 if the run is finished, 3 if not, 4 if a number was not finite: no snapshot
      comes after that.
    """
    with stopping.StopRequest() as stop:
        learner = Learner(role, lambda: stop.requested)
        try:
            with contextlib.suppress(connection.Stopped):
                learner.learn()
            learner.save_and_wait()
        except finite.NotFiniteError as error:
            return context.report_not_finite(error)
        finally:
            learner.close()
    return context.FINISHED if learner.is_finished else context.STOPPED


class Learner:
    """The learner's state, counts and connections."""

    def __init__(self, role: context.Role, stop: Callable[[], bool]):
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
        run_directory.append_provenance(self._path, self._config)
        self._restore_or_begin()
        self._open_files()
        self._reader = replay_reader.ReplayReader(role, self._spec, self._weights, stop)
        self._publisher = publisher.Publisher(role.connect)
        max_transitions = self._config.replay.capacity // _CHECKPOINT_SHARE
        self._saver = saving.Saver(
            self._store, self._reader, self._accounts, self._contents, max_transitions
        )
        self._newest: batches.Batch | None = None
        self._told_at, self._told = time.monotonic(), (0, 0)
        self._reported_at = 0.0
        # What was due in an iteration that a dying server has cut short is due in the next one.
        self._written_frames = self._counters["frames"]
        self._heard_at = time.monotonic()
        # Since when a task is being left.
        self._left_at: float | None = None
        # Whether the table has too few transitions to draw from.
        self._is_starved = False
        # Whether it may have some of before it was to be cleared.
        self._is_to_be_cleared = True
        self._allowed = 0

    def _build(self) -> None:
        config = self._config
        self._spec, action_spec = policy.environment_specs(config)
        frames_per_step = envs_base.frames_per_step(config.environment)
        frames_per_task = experiment.frames_per_task(config, frames_per_step)
        schedule = update_schedule_lib.UpdateSchedule.from_config(
            config, frames_per_step, frames_per_task
        )
        self._counts = run_counts.RunCounts(
            schedule, frames_per_step, config.distributed.credit_frames
        )
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
        self._accounts = actor_accounts.ActorAccounts()
        self._recent: collections.deque[float] = collections.deque(maxlen=_RECENT_EPISODES)
        self._store = snapshot.SnapshotStore(self._path / "snapshots", self._config.snapshot.keep)
        self._gathered = self._store.restore(self._restore)
        if self._gathered is None:
            self._state = self._update.init(self._config.seed, self._stack)

    def _restore(self, path: Path, counters: dict[str, int]) -> dict[str, np.ndarray]:
        """Puts back the state and the counts; returns what is the recorder's."""
        if set(counters) != set(run_counts.COUNTERS):
            raise snapshot.SnapshotError(
                f"{path} is of a run of one process: continue it with scripts.train"
            )
        shapes = jax.eval_shape(
            lambda: _with_seed_axis(self._update.init(self._config.seed, self._stack))
        )
        arrays = snapshot.read_arrays(path, "learner")
        state_arrays.check_finite(arrays, f"{path}: learner", self._config.seed)
        state = state_arrays.from_arrays(path, arrays, shapes)
        self._state = self._update.put(jax.tree.map(lambda x: x[0], state))
        self._counts.counters = counters
        gathered = snapshot.read_arrays(path, "loop")
        self._recent.extend(gathered.pop("recent_returns").tolist())
        self._accounts.set_state({"ledger": gathered.pop("ledger")})
        self._counts.report(self._accounts.frames)
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
        logs = {"train": frames, "layers": frames, "episodes": recorder_lib.KEEP_ROWS}
        self._recorder = recorder_lib.Recorder(path, self._config, logs, names)
        if self._gathered is None:
            self._recorder.norms(_with_seed_axis(self._state.params), 0)
        else:
            self._recorder.set_state(self._gathered)
        episodes = path / "episodes.csv"
        if episodes.exists():
            rows = csv_log.read_rows(episodes)
            self._accounts.note_episodes((int(row["life"]), int(row["episode"])) for row in rows)
        self._progress = progress_lib.Progress(self._config.num_frames, frames)

    def _empty_batch(self) -> sharded.Batch:
        """Shapes of a batch."""
        config, spec = self._config, self._spec
        shape = (config.replay.batch_size, *policy.observation_shape(config, spec)[1:])
        return sharded.batch_shapes(shape, spec.dtype)

    @property
    def _counters(self) -> dict[str, int]:
        return self._counts.counters

    @property
    def is_finished(self) -> bool:
        """Whether all frames were played and all their updates done."""
        return self._counts.is_finished

    def learn(self) -> None:
        """Learns until the run is finished or is to stop, whatever happens to the others.

        Raises:
          connection.Stopped: the process was asked to end while something was waited for.
          NotFiniteError: an update was not finite.
        """
        self._publish_parameters()
        self._tell()
        self._open_reader()
        while not (self.is_finished or self._stop()):
            try:
                self._iterate()
            except finite.NotFiniteError:
                self._end_if_not_finite()  # which may tell more
                raise
            except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
                logging.warning("%s; connecting again", error)
                self._open_reader()

    def _open_reader(self) -> None:
        # A restored table may lack transitions, or have some of before it was cleared.
        self._newest, self._is_starved, self._is_to_be_cleared = None, False, True
        self._set_status()
        while True:
            try:
                self._reader.open()
                self._heard_at = time.monotonic()
                return
            except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
                logging.warning("%s; connecting again", error)
                time.sleep(_RETRY_S)

    def _iterate(self) -> None:
        """Takes reports, does one update if it is due, and whatever else is."""
        self._take_reports()
        if self._is_to_be_cleared:
            self._clear_replay()
        elif self._counts.updates_behind:
            self._learn_one_batch()
        elif self._counts.is_task_over and not self.is_finished:
            self._leave_task()
        else:
            time.sleep(_IDLE_S)
        self._write_what_is_due()
        self._progress.advance(self._counters["frames"])
        if time.monotonic() - self._told_at > _STATUS_S:
            self._tell()

    def _clear_replay(self) -> None:
        """Empties the table if it is to be, be it that its server died before it was.

        Nothing of the new task is played before a checkpoint has the empty table: so whatever may
        have to be emptied again has nothing of it.
        """
        first_task, mark = self._counters["first_task"], self._reader.mark
        is_old = mark.first_task < first_task
        self._is_to_be_cleared = is_old or not mark.is_saved
        if not self._is_to_be_cleared:
            return
        # The mark of a checkpoint under way must not come after the new one; and what an actor
        # still sends of before would come into the empty table.
        if self._saver.is_checkpointing or (is_old and not self._have_left(first_task - 1)):
            time.sleep(_IDLE_S)
            return
        if is_old:
            self._reader.clear(first_task)
        self._saver.want_checkpoint()

    def _take_reports(self) -> None:
        now = time.monotonic()
        if now - self._reported_at < _REPORTS_S:
            return
        self._reported_at = now
        reports = self._reader.reports()
        if reports:
            self._heard_at = now
        elif now - self._heard_at > _SILENT_S:
            self._heard_at = now
            self._reader.check()
        for report in reports:
            self._book(report)
        self._counts.report(self._accounts.frames)
        self._set_status()

    def _book(self, report: messages.Report) -> None:
        for number, episode in self._accounts.apply(report):
            self._counters["episodes"] += 1
            self._recent.append(episode.episode_return)
            where = {"actor": report.actor, "life": report.journal_id, "episode": number}
            played = envs_base.Episode(*episode[:3])
            self._recorder.episode({**self._counters, "task": episode.task}, played, where)

    def _learn_one_batch(self) -> None:
        batch = self._reader.batch(_BATCH_WAIT_S)
        self._is_starved = batch is None and self._reader.is_short()
        if batch is None:
            return
        on_device = self._update.put_batch(batch.transition, batch.probabilities)
        self._state, new_priorities, metrics = self._update.learn(
            self._state, on_device, self._counts.importance_steps
        )
        # Before the priorities are sent, which may fail: the update is done.
        self._newest = batch
        self._counts.count_update()
        self._recorder.learned(self._counters, metrics)
        if self._counters["updates"] % self._config.distributed.publish_period_updates == 0:
            self._end_if_not_finite()
            self._publish_parameters()
        self._reader.prioritize(batch, new_priorities)

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
        counters, limits, allowed = self._counters, {}, 0
        if not self._is_to_be_cleared:
            allowed = self._counts.allowed_frames(self._is_starved)
            limits = run_counts.frame_limits(self._accounts.alive(), self._counts.played, allowed)
        is_urgent = allowed - self._allowed > (
            self._config.distributed.credit_frames // _URGENT_SHARE
        )
        if is_urgent:
            self._allowed = allowed
        self._publisher.set_status(
            messages.Status(
                frames=counters["frames"],
                updates=counters["updates"],
                task=self._counts.task_to_play,
                finished=finished,
                version=0,
                weight=self._weights.of_new(),
                confirmed=self._saver.confirmed,
                episodes=dict(self._accounts.episodes),
                limits=limits,
            ),
            is_urgent,
        )

    def _leave_task(self) -> None:
        """Begins the next task when all actors have, and the evaluator has what this one made."""
        if self._left_at is None:
            self._left_at = time.monotonic()
            self._publish_parameters()
        is_evaluated = bool(self._config.evaluation.period_frames)
        is_early = is_evaluated and time.monotonic() - self._left_at < _LEAVE_S
        if is_early or not self._have_left(self._counters["task"]):
            time.sleep(_IDLE_S)
            return
        self._left_at = None
        self._log()
        self._begin_task()

    def _have_left(self, task: int) -> bool:
        incarnation = messages.short_incarnation(self._reader.incarnation)
        return self._accounts.have_left(task, incarnation, self._role.num_actors)

    def _begin_task(self) -> None:
        """Does what is to be done at the beginning of a task."""
        rng, rng_params = jax.random.split(self._state.rng)
        trained = task_switch_lib.switch_trained(
            self._switch, self._update.update, self._state.trained, rng_params, self._stack
        )
        self._state = self._update.put(sharded.State(*trained, rng))
        self._counts.begin_task(self._switch)
        if self._switch.clear_replay:
            self._newest = None
            # A learner that is restored from before would miss what is cleared next.
            self._saver.save_snapshot(self._counters)
            self._saver.wait_for_snapshot()
            self._is_to_be_cleared = True
        self._recent.clear()
        self._publish_parameters()

    def _write_what_is_due(self) -> None:
        config = self._config
        if self._is_due(config.log.layers_period_frames):
            self._measure_layers()
        if self._is_due(config.log.period_frames) or self.is_finished:
            self._log()
        if self._is_due(config.snapshot.period_frames):
            self._saver.save(self._counters)
        self._written_frames = self._counters["frames"]
        self._saver.tend()

    def _is_due(self, period_frames: int) -> bool:
        """Whether a multiple of a period (0: never) was completed since it was last asked."""
        before = self._written_frames
        frames = self._counters["frames"]
        return bool(period_frames) and frames // period_frames > before // period_frames

    def _end_if_not_finite(self) -> None:
        """Raises NotFiniteError after a last row, if an update of the interval was not finite."""
        message = self._recorder.not_finite()
        if message:
            self._log_interval()
            raise finite.NotFiniteError(message)

    def _measure_layers(self) -> None:
        self._end_if_not_finite()
        self._recorder.norms(_with_seed_axis(self._state.params), self._counters["updates"])
        batch = self._newest
        if batch is not None:
            on_device = self._update.put_batch(batch.transition, batch.probabilities)
            measured = self._update.measure(self._state, on_device, self._counts.importance_steps)
            self._recorder.layers(self._counters, _with_seed_axis(jax.device_get(measured)))

    def _log(self) -> None:
        self._end_if_not_finite()
        self._log_interval()

    def _log_interval(self) -> None:
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
            return min(self._accounts.transitions, self._config.replay.capacity)
        return self._newest.table_size

    def _game(self) -> str:
        environment = self._config.environment
        return envs_base.task_name(envs_base.task_config(environment, self._counters["task"]))

    def _tell(self) -> None:
        """Writes this process's status, for those who look on."""
        now, (frames, updates) = time.monotonic(), self._told
        seconds = max(now - self._told_at, 1e-3)
        counters = self._counters
        numbers = {
            "frames": counters["frames"],
            "num_frames": self._config.num_frames,
            "updates": counters["updates"],
            "updates_behind": self._counts.updates_behind,
            "frames_per_second": (counters["frames"] - frames) / seconds,
            "updates_per_second": (counters["updates"] - updates) / seconds,
            "transitions": self._accounts.transitions,
            "replay_size": self._replay_size(),
            "game": self._game(),
        }
        if self._recent:
            numbers["mean_return"] = float(np.mean(self._recent))
        self._role.write_status(numbers)
        self._told_at, self._told = now, (counters["frames"], counters["updates"])

    def _contents(self, earlier: Path | None) -> snapshot.Contents:
        del earlier
        learner = state_arrays.to_arrays(_with_seed_axis(self._state))
        state_arrays.check_finite(learner, "learner", self._config.seed)
        return snapshot.Contents(
            counters=dict(self._counters),
            arrays={
                "learner": learner,
                "loop": {
                    "recent_returns": np.array(self._recent, np.float64),
                    "weights": np.array([self._weights.largest, self._weights.mean]),
                    **self._accounts.get_state(),
                    **self._recorder.get_state(),
                },
            },
        )

    def save_and_wait(self) -> None:
        """Writes a last snapshot and a last checkpoint.

        Raises:
          NotFiniteError: an update was not finite; nothing is written.
        """
        self._end_if_not_finite()
        self._publish_parameters()
        self._set_status(finished=self.is_finished)
        self._saver.save(self._counters)
        self._saver.wait_for_snapshot()
        self._saver.wait_for_checkpoint(_LAST_CHECKPOINT_S)

    def close(self) -> None:
        """Ends threads and connections; a checkpoint under way as well."""
        self._progress.close()
        self._recorder.close()
        self._tell()
        self._publisher.close()
        self._reader.close()
        self._saver.close()


def _with_seed_axis(tree: Any) -> Any:
    """A leading axis for the seeds, of which there is one: as the files of all runs have it."""
    return jax.tree.map(lambda x: x[None], tree)

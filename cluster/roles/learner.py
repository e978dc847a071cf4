"""The role `learner`: draws batches, updates the agent, and owns the run's counts and files.

For the frames that the actors report it does as many updates as the loop of one process does, and
tells the actors how far they may play: nothing else counts the two.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from agents import base as agents_base
from cluster import context
from cluster.accounts import actor_accounts, evaluator_account, learner_counts
from cluster.learning import (
    announcements,
    learner_log,
    learner_snapshot,
    replay_reader,
    saving,
    task_change,
    trained_agent,
)
from cluster.messages import messages
from core import finite
from envs import base as envs_base
from replay.reverb import connection, wire
from replay.reverb.sampling import priorities
from training import experiment, run_directory, run_settings
from training.checkpoints import snapshot
from training.learning import prioritizing, sharded
from training.learning import update_schedule as update_schedule_lib
from training.system import exit_codes, stopping

_BATCH_WAIT_S = 0.2
_IDLE_S = 0.005
_REPORTS_S = 0.02
_RETRY_S = 0.5
# How long a finished run tries to save and to publish what it ends with.
_LAST_S = 300.0
# Without a report for this long, the connection may be gone silently.
_SILENT_S = 10.0
# A checkpoint is due when 1 / this of the table is new: what is then sent again to a restored
# server is never older than what the table would hold.
_CHECKPOINT_SHARE = 2


def run(role: context.Role) -> int:
    """Learns until all frames are played and all their updates done, or until SIGINT or SIGTERM.

    Returns:
      The exit code: 0 if the run is finished, 3 if not, 4 if a number was not finite: no snapshot
      comes after that. 1 if it is finished, but its end is not saved or published.
    """
    with stopping.StopRequest() as stop:
        learner = LearnerProcess(role, lambda: stop.requested)
        try:
            with contextlib.suppress(connection.Stopped):
                learner.learn()
            missing = learner.save_and_wait()
        except finite.NotFiniteError as error:
            return context.report_not_finite(error)
        finally:
            learner.close()
    if not learner.is_finished:
        return exit_codes.STOPPED
    if missing:
        print(f"error: all frames are played, but {missing}", file=sys.stderr)
        return exit_codes.FAILED
    return exit_codes.FINISHED


class LearnerProcess:
    """The order in which everything is done; the parts of the learner are modules of their own."""

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
        self._settings = role.settings
        self._build()
        run_directory.append_provenance(role.run_dir, role.config)
        self._restore_or_begin()
        self._connect_parts()
        self._polled_at, self._heard_at = 0.0, time.monotonic()
        # Whether the table has too few transitions to draw from.
        self._is_starved = False

    def _build(self) -> None:
        settings = self._settings
        experiment.check_filling(settings)
        self._spec, action_spec = envs_base.make_specs(settings.environment)
        self._counts = _make_counts(self._role)
        self._accounts = actor_accounts.ActorAccounts()
        self._weights = _make_weights(settings)
        agent = experiment.make_agent(settings, self._spec, action_spec)
        self._agent = _make_agent(self._role, agent)

    def _restore_or_begin(self) -> None:
        settings, agent, run_dir = self._settings, self._agent, self._role.run_dir
        self._store = snapshot.of_run(run_dir, settings.snapshot.keep)
        self._snapshot = learner_snapshot.LearnerSnapshot(
            settings.seed, agent, self._counts, self._accounts, self._weights
        )
        gathered = self._store.restore(self._snapshot.restore)
        if gathered is None:
            agent.init()
        names = agent.metric_names(_batch_shapes(settings, self._spec))
        prioritizing.check_agent(settings, names)
        self._log = learner_log.LearnerLog(self._role, agent, self._counts, self._accounts, names)
        if gathered is None:
            self._log.record_norms()
        else:
            learner_snapshot.restore_log(self._log, gathered)

    def _connect_parts(self) -> None:
        settings, role = self._settings, self._role
        self._reader = replay_reader.ReplayReader(role, self._spec, self._weights, self._stop)
        self._saver = saving.Saver(
            self._store,
            self._reader,
            self._accounts,
            lambda earlier: self._snapshot.contents(self._log),
            settings.replay.capacity // _CHECKPOINT_SHARE,
            role.checkpoint_dir,
        )
        self._announcements = announcements.Announcements(
            role, self._agent, self._counts, self._accounts, self._weights, self._saver
        )

        def have_left(task: int) -> bool:
            incarnation = messages.short_incarnation(self._reader.incarnation)
            return self._accounts.have_left(task, incarnation, role.num_actors)

        self._evaluator = evaluator_account.EvaluatorAccount()
        self._change = task_change.TaskChange(
            have_left,
            self._evaluator if settings.evaluation.period_frames else None,
            settings.task_switch.clear_replay,
        )

    @property
    def is_finished(self) -> bool:
        """Whether all frames were played and all their updates done."""
        return self._counts.is_finished

    def learn(self) -> None:
        """Learns until the run is finished or must stop, whatever happens to the others.

        Raises:
          connection.Stopped: the process was asked to end during a wait.
          NotFiniteError: an update was not finite.
        """
        self._announcements.publish_parameters()
        self._log.write_status()
        self._open_reader()
        while not (self.is_finished or self._stop()):
            try:
                self._iterate()
            except finite.NotFiniteError:
                self._log.end_if_not_finite()  # which may say more
                raise
            except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
                logging.warning("%s; connecting again", error)
                self._open_reader()

    def _open_reader(self) -> None:
        # A restored table may lack transitions, or have some from before it was cleared.
        self._agent.newest, self._is_starved = None, False
        self._change.reset_replay()
        self._announce()
        while True:
            try:
                self._reader.open()
                self._heard_at = time.monotonic()
                # They were cut off as well.
                self._accounts.await_all()
                return
            except (wire.WireUnavailableError, wire.WireTimeoutError) as error:
                logging.warning("%s; connecting again", error)
                time.sleep(_RETRY_S)

    def _iterate(self) -> None:
        """Polls reports, and does one update and whatever else is due."""
        self._poll_reports()
        step = self._change.next_step(
            _facts(self._counts, self._reader, self._saver, self._announcements.version)
        )
        if step is not task_change.ChangeStep.GO_ON:
            self._take_step(step)
        elif self._counts.updates_behind:
            self._learn_one_batch()
        else:
            time.sleep(_IDLE_S)
        self._write_what_is_due()
        self._log.show_progress()

    def _poll_reports(self) -> None:
        now = time.monotonic()
        if now - self._polled_at < _REPORTS_S:
            return
        self._polled_at = now
        reports = self._reader.poll_reports()
        if reports:
            self._heard_at = now
        elif now - self._heard_at > _SILENT_S:
            self._heard_at = now
            self._reader.check()
        for report in reports:
            if isinstance(report, messages.EvaluatorReport):
                self._evaluator.apply(report)
            else:
                self._log.apply(report)
        self._counts.report(self._accounts.frames)
        self._announce()

    def _announce(self, finished: bool = False) -> None:
        may_play = self._change.phase is not task_change.Phase.CLEARING
        self._announcements.publish(may_play, self._is_starved, finished)

    def _learn_one_batch(self) -> None:
        batch = self._reader.batch(_BATCH_WAIT_S)
        self._is_starved = batch is None and self._reader.is_short()
        if batch is None:
            return
        new_priorities, metrics = self._agent.learn(batch, self._counts.importance_steps)
        # Before the priorities are sent, which may fail: the update is done.
        self._counts.count_updates()
        counters = self._counts.counters
        self._log.recorder.learned(counters, metrics)
        if counters["updates"] % self._role.distributed.publish_period_updates == 0:
            self._log.end_if_not_finite()
            self._announcements.publish_parameters()
        if new_priorities is not None:
            self._reader.prioritize(batch, new_priorities)

    def _take_step(self, step: task_change.ChangeStep) -> None:
        """Does what the change of tasks asks for. Raises WireError."""
        if step is task_change.ChangeStep.PUBLISH:
            self._announcements.publish_parameters()
        elif step is task_change.ChangeStep.BEGIN:
            self._begin_task()
        elif step is task_change.ChangeStep.WAIT or not self._saver.may_change_table:
            time.sleep(_IDLE_S)
        else:
            if step is task_change.ChangeStep.CLEAR:
                self._reader.clear(self._counts.counters["first_task"])
            self._saver.want_checkpoint()

    def _begin_task(self) -> None:
        """Begins the next task. Raises WireError, with nothing changed that matters."""

        def gives_up() -> bool:
            self._log.show_progress()
            return self._stop()

        clears = self._settings.task_switch.clear_replay
        if clears:
            # The largest priority of this task must not be that of the next one's snapshot.
            self._reader.drain()
            self._weights.reset()
        self._log.write_rest()
        self._agent.begin_task()
        self._counts.begin_task(self._settings.task_switch)
        if clears:
            # A learner restored from before this would miss what is cleared next.
            self._saver.write_snapshot(self._counts.counters, gives_up)
        self._log.recent.clear()
        self._announcements.publish_parameters()

    def _write_what_is_due(self) -> None:
        self._log.write_due()
        if self._log.is_due(self._settings.snapshot.period_frames):
            self._saver.save(self._counts.counters)
        self._log.note_written()
        self._saver.tend()

    def save_and_wait(self) -> str:
        """Writes a last snapshot and a last checkpoint; tries again if the run is finished.

        Returns:
          What of the run's end could not be saved or published, for a message; "": nothing. A
          checkpoint is not among it, as the actors' journals have what the last one lacks.

        Raises:
          NotFiniteError: an update was not finite; nothing is written.
        """
        self._log.end_if_not_finite()
        self._announcements.publish_parameters()
        is_finished, end = self.is_finished, time.monotonic() + _LAST_S
        is_saved = self._saver.write_snapshot(
            self._counts.counters, lambda: not is_finished or time.monotonic() > end
        )
        if not is_saved:
            return "the last snapshot is not written"
        try:
            self._announce(is_finished)
            self._saver.want_checkpoint()
            self._saver.tend()
            self._saver.wait_for_checkpoint(_LAST_S, tries_again=is_finished)
        except wire.WireError as error:
            logging.error("no last checkpoint: %s", error)
        if is_finished and not self._announcements.wait_until_told(_LAST_S):
            return "the last parameters are not published"
        return ""

    def close(self) -> None:
        """Ends threads, connections, and a checkpoint under way; each, whatever the others do."""
        with contextlib.ExitStack() as last_first:
            for part in (self._saver, self._reader, self._announcements, self._log):
                last_first.callback(part.close)


def _make_counts(role: context.Role) -> learner_counts.LearnerCounts:
    """The counts of a new run."""
    schedule = update_schedule_lib.UpdateSchedule.make(role.settings)
    frames_per_step = role.settings.frames_per_step
    return learner_counts.LearnerCounts(schedule, frames_per_step, role.distributed.credit_frames)


def _make_weights(settings: run_settings.RunSettings) -> priorities.SamplingWeights:
    """Turns priorities into sampling weights; without priorities all are 1."""
    if prioritizing.make(settings.replay) is None:
        return priorities.SamplingWeights(0.0, 0.0)
    return priorities.SamplingWeights(
        settings.replay.priority_exponent, settings.replay.uniform_mix
    )


def _make_agent(role: context.Role, agent: agents_base.Agent) -> trained_agent.TrainedAgent:
    """The agent, without a state."""
    settings = role.settings
    batch_size = settings.replay.batch_size
    update = sharded.ShardedUpdate(
        agent,
        prioritizing.make(settings.replay),
        sharded.choose_devices(role.distributed.learner_devices, batch_size),
    )
    seen = agent.observations
    stack = np.zeros(seen.shape, seen.dtype)
    return trained_agent.TrainedAgent(update, settings.task_switch, settings.seed, stack)


def _facts(
    counts: learner_counts.LearnerCounts,
    reader: replay_reader.ReplayReader,
    saver: saving.Saver,
    version: int,
) -> task_change.Facts:
    """What a change of tasks depends on; `version`: of the parameters published last."""
    return task_change.Facts(
        task=counts.counters["task"],
        first_task=counts.counters["first_task"],
        version=version,
        is_over=counts.is_task_over and not counts.is_finished,
        mark=reader.mark,
        is_checkpointing=saver.is_checkpointing,
    )


def _batch_shapes(settings: run_settings.RunSettings, spec: Any) -> sharded.Batch:
    """Shapes of a batch."""
    seen = experiment.observations_seen(settings, spec)
    return sharded.batch_shapes((settings.replay.batch_size, *seen.shape[1:]), seen.dtype)

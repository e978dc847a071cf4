"""What the learner records of a run: its CSV files, the progress line, its status."""

import collections
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from cluster import context
from cluster.accounts import actor_accounts, learner_counts
from cluster.learning import trained_agent
from cluster.messages import messages
from core import finite, progress
from envs import base as envs_base
from training import periods, run_settings
from training.logs import csv_log, run_recorder

RECENT_EPISODES = 100
"""The reported mean return is over this many."""

_STATUS_S = 1.0


class LearnerLog:
    """Writes what is due, by the frames whose updates are done.

    Attributes:
      recorder: of the CSV files.
      recent: the returns of the last episodes.
    """

    def __init__(
        self,
        role: context.Role,
        agent: trained_agent.TrainedAgent,
        counts: learner_counts.LearnerCounts,
        accounts: actor_accounts.ActorAccounts,
        metric_names: Sequence[str],
    ):
        """Opens the files, and drops rows beyond the counts.

        Args:
          role: the learner's.
          agent: its layers are measured.
          counts: of the run.
          accounts: of the actors.
          metric_names: of what the updates return.
        """
        self._role = role
        self._settings = role.settings
        self._agent, self._counts, self._accounts = agent, counts, accounts
        self.recent: collections.deque[float] = collections.deque(maxlen=RECENT_EPISODES)
        frames = counts.counters["frames"]
        # Rows of the evaluator are not the learner's to drop; nor are episodes that were played.
        logs = {"train": frames, "layers": frames, "episodes": run_recorder.KEEP_ROWS}
        self.recorder = run_recorder.Recorder(role.run_dir, self._settings, logs, metric_names)
        self._written = _note_written_episodes(role, accounts, frames)
        self._progress = progress.Progress(role.num_frames, "frame", frames, line_seconds=math.inf)
        # What was due in an iteration cut short by a dying server is due in the next one.
        self._written_frames = frames
        self._status_at, self._in_status = time.monotonic(), (0, 0)

    def apply(self, report: messages.Report) -> None:
        """Applies an actor's report to the accounts; records its new episodes."""
        counters = self._counts.counters
        for number, episode in self._accounts.apply(report):
            counters["episodes"] += 1
            self.recent.append(episode.episode_return)
            where = {"actor": report.actor, "journal": report.journal_id, "episode": number}
            played = envs_base.Episode(*episode[:3])
            self.recorder.episode({**counters, "task": episode.task}, played, where)

    def is_due(self, period_frames: int) -> bool:
        """Whether a multiple of a period (0: never) was completed since `note_written`."""
        frames = self._counts.counters["frames"]
        return periods.is_completed(period_frames, self._written_frames, frames)

    def note_written(self) -> None:
        """Notes that what was due is written."""
        self._written_frames = self._counts.counters["frames"]

    def write_due(self) -> None:
        """Writes the rows of train.csv and layers.csv that are due. Raises NotFiniteError."""
        self._take_written()
        if self.is_due(self._settings.log.layers_period_frames):
            self._measure_layers()
        if self.is_due(self._settings.log.period_frames) or self._counts.is_finished:
            self.write_interval()

    def write_rest(self) -> None:
        """Writes a row of train.csv if there is anything for it. Raises NotFiniteError."""
        self._take_written()
        gathered = self.recorder.gathered.get_state()
        if gathered["update_counts"].size or gathered["returns"].size:
            self.write_interval()

    def _take_written(self) -> None:
        """Counts episodes that are in the file already when the run comes to them again."""
        counters = self._counts.counters
        while self._written and self._written[0].frames <= counters["frames"]:
            episode_return = self._written.popleft().episode_return
            counters["episodes"] += 1
            self.recent.append(episode_return)
            self.recorder.gathered.returns[0].append(episode_return)

    def write_interval(self) -> None:
        """Writes a row of train.csv. Raises NotFiniteError."""
        self.end_if_not_finite()
        self._write_interval()

    def end_if_not_finite(self) -> None:
        """Raises NotFiniteError after a last row, if an update of the interval was not finite."""
        message = self.recorder.gathered.not_finite()
        if message:
            self._write_interval()
            raise finite.NotFiniteError(message)

    def _measure_layers(self) -> None:
        self.end_if_not_finite()
        counters = self._counts.counters
        self.record_norms()
        measured = self._agent.measure(self._counts.importance_steps)
        if measured is not None:
            measured = trained_agent.with_seed_axis(jax.device_get(measured))
            self.recorder.layers(counters, measured)

    def record_norms(self) -> None:
        """Writes the norms of the layers. Raises NotFiniteError."""
        self.recorder.norms([self._agent.norms()], self._counts.counters["updates"])

    def _write_interval(self) -> None:
        counters = self._counts.counters
        numbers = self.recorder.interval(counters, np.array([self._replay_size()]), {})
        shown = {"return": float(np.mean(self.recent))} if self.recent else {}
        if not np.isnan(numbers["loss"]):
            shown["loss"] = numbers["loss"]
        self._progress.report(
            counters["frames"], numbers["frames_per_second"], _game(self._settings, counters), shown
        )

    def _replay_size(self) -> int:
        """Transitions in the table when a batch was last drawn; before that, those on their way."""
        if self._agent.newest is None:
            return min(self._accounts.transitions, self._settings.replay.capacity)
        return self._agent.newest.table_size

    def show_progress(self) -> None:
        """Updates the progress line, and writes the status if a second has passed."""
        self._progress.advance(self._counts.counters["frames"])
        if time.monotonic() - self._status_at > _STATUS_S:
            self.write_status()

    def write_status(self) -> None:
        """Writes this process's status, for observers."""
        now, (frames, updates) = time.monotonic(), self._in_status
        seconds = max(now - self._status_at, 1e-3)
        counters = self._counts.counters
        numbers = {
            "frames": counters["frames"],
            "num_frames": self._role.num_frames,
            "updates": counters["updates"],
            "updates_behind": self._counts.updates_behind,
            "frames_per_second": (counters["frames"] - frames) / seconds,
            "updates_per_second": (counters["updates"] - updates) / seconds,
            "transitions": self._accounts.transitions,
            "replay_size": self._replay_size(),
            "game": _game(self._settings, counters),
        }
        if self.recent:
            numbers["mean_return"] = float(np.mean(self.recent))
        self._role.write_status(numbers)
        self._status_at, self._in_status = now, (counters["frames"], counters["updates"])

    def close(self) -> None:
        """Closes the files, and writes the status once more."""
        self._progress.close()
        self.recorder.close()
        self.write_status()


def _game(settings: run_settings.RunSettings, counters: Mapping[str, int]) -> str:
    """The name of the task that is learned."""
    return envs_base.task_name(envs_base.task(settings.environment, counters["task"]))


class _WrittenEpisode(NamedTuple):
    """An episode in the file: the frames of the run when it was recorded, and its return."""

    frames: int
    episode_return: float


def _note_written_episodes(
    role: context.Role, accounts: actor_accounts.ActorAccounts, frames: int
) -> collections.deque[_WrittenEpisode]:
    """Avoids writing episodes twice; returns those recorded after these frames, in their order.

    They are not in the counts of a snapshot of that moment.
    """
    path = role.run_dir / "episodes.csv"
    rows = csv_log.read_rows(path) if path.exists() else []
    accounts.note_episodes((int(row["journal"]), int(row["episode"])) for row in rows)
    written = (_WrittenEpisode(int(row["frames"]), float(row["return"])) for row in rows)
    # Without a snapshot, none is counted.
    later = [episode for episode in written if episode.frames > frames or not frames]
    return collections.deque(sorted(later, key=lambda episode: episode.frames))

"""What the learner knows of its actors: an account for each of their journals."""

import time
from collections.abc import Iterable, Mapping

import numpy as np

from cluster.messages import messages

_SILENT_S = 10.0


class ActorAccounts:
    """Frames, episodes and confirmed records by journal, from the actors' reports.

    All counts in a report are from its journal's beginning, so a report that is lost or comes twice
    changes nothing.
    """

    def __init__(self):
        self._frames: dict[int, int] = {}
        self._transitions: dict[int, int] = {}
        self._episodes: dict[int, int] = {}
        self._newest: dict[int, tuple[float, messages.Report]] = {}
        self.await_all()

    @property
    def frames(self) -> int:
        """The frames of all journals."""
        return sum(self._frames.values())

    @property
    def transitions(self) -> int:
        """The transitions that actors have put into all journals together."""
        return sum(self._transitions.values())

    @property
    def episodes(self) -> Mapping[int, int]:
        """By journal, how many episodes were recorded."""
        return self._episodes

    def apply(self, report: messages.Report) -> list[tuple[int, messages.EpisodeReport]]:
        """Applies a report to the accounts.

        Returns:
          Its new episodes, each with its number in the journal.
        """
        journal_id = report.journal_id
        self._newest[journal_id] = time.monotonic(), report
        # A restarted actor begins at its last whole record, which may be older than its report.
        self._frames[journal_id] = max(self._frames.get(journal_id, 0), report.frames)
        self._transitions[journal_id] = max(
            self._transitions.get(journal_id, 0), report.transitions
        )
        known = self._episodes.get(journal_id, 0)
        numbered = list(enumerate(report.episodes, report.first_episode))
        self._episodes[journal_id] = max(known, report.first_episode + len(report.episodes))
        return [(number, episode) for number, episode in numbered if number >= known]

    def confirmed(self, incarnation: int) -> dict[int, int]:
        """By journal, the record up to which one incarnation of the server has confirmed all."""
        return {
            journal_id: report.confirmed
            for journal_id, (_, report) in self._newest.items()
            if report.incarnation == incarnation
        }

    def alive(self) -> list[messages.Report]:
        """The newest reports of the actors heard from lately."""
        now = time.monotonic()
        return [report for at, report in self._newest.values() if now - at < _SILENT_S]

    def await_all(self) -> None:
        """Has all actors waited for again for a while, after a time when none could be heard."""
        self._begin = time.monotonic()

    def have_left(self, task: int, incarnation: int, num_actors: int) -> bool:
        """Whether all live actors play a later task, with all they played before confirmed.

        Args:
          task: the one being left.
          incarnation: of the server that must have confirmed it.
          num_actors: how many to wait for; silent ones only for a while.
        """
        alive = self.alive()
        is_early = time.monotonic() - self._begin < _SILENT_S
        if is_early and len({report.actor for report in alive}) < num_actors:
            return False
        return bool(alive) and all(
            report.task > task and report.incarnation == incarnation for report in alive
        )

    def note_episodes(self, written: Iterable[tuple[int, int]]) -> None:
        """Counts episodes recorded before a restart, each a journal and a number in it."""
        for journal_id, number in written:
            self._episodes[journal_id] = max(self._episodes.get(journal_id, 0), number + 1)

    def get_state(self) -> dict[str, np.ndarray]:
        """The accounts as rows [journal, frames, transitions, episodes], for a snapshot."""
        accounts = (self._frames, self._transitions, self._episodes)
        journal_ids = self._frames.keys() | self._episodes.keys()
        rows = [[i, *(account.get(i, 0) for account in accounts)] for i in sorted(journal_ids)]
        return {"accounts": np.array(rows, np.int64).reshape(-1, 4)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores `get_state`'s result."""
        for journal_id, frames, transitions, episodes in state["accounts"].tolist():
            self._frames[journal_id] = frames
            self._transitions[journal_id] = transitions
            self._episodes[journal_id] = episodes

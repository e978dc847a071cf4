"""What the learner knows of its actors: an account for each of their lives."""

import time
from collections.abc import Iterable, Mapping

import numpy as np

from cluster.messages import messages

_SILENT_S = 10.0


class Ledger:
    """Frames, episodes and confirmed records by life, out of the actors' reports.

    A life is a journal's. All counts of a report are from its life's beginning, so a report that is
    lost, or that comes twice, changes nothing.
    """

    def __init__(self):
        self._frames: dict[int, int] = {}
        self._transitions: dict[int, int] = {}
        self._episodes: dict[int, int] = {}
        self._newest: dict[int, tuple[float, messages.Report]] = {}
        self._begin = time.monotonic()

    @property
    def frames(self) -> int:
        """Of all lives together."""
        return sum(self._frames.values())

    @property
    def transitions(self) -> int:
        """Of all lives together: those that actors have put into their journals."""
        return sum(self._transitions.values())

    @property
    def episodes(self) -> Mapping[int, int]:
        """By life, how many episodes were taken."""
        return self._episodes

    def take(self, report: messages.Report) -> list[tuple[int, messages.Episode]]:
        """Books a report.

        Returns:
          Its new episodes, each with its number in the life.
        """
        life = report.life
        self._newest[life] = time.monotonic(), report
        # A restarted actor begins at its last whole record, which may be older than its report.
        self._frames[life] = max(self._frames.get(life, 0), report.frames)
        self._transitions[life] = max(self._transitions.get(life, 0), report.transitions)
        known = self._episodes.get(life, 0)
        numbered = list(enumerate(report.episodes, report.first_episode))
        self._episodes[life] = max(known, report.first_episode + len(report.episodes))
        return [(number, episode) for number, episode in numbered if number >= known]

    def confirmed(self, incarnation: int) -> dict[int, int]:
        """By life, the record through which one incarnation of the server has confirmed all."""
        return {
            life: report.confirmed
            for life, (_, report) in self._newest.items()
            if report.incarnation == incarnation
        }

    def alive(self) -> list[messages.Report]:
        """The newest reports of the actors that were heard of lately."""
        now = time.monotonic()
        return [report for at, report in self._newest.values() if now - at < _SILENT_S]

    def have_left(self, task: int, incarnation: int, num_actors: int) -> bool:
        """Whether all these play a later task, and what they played until then is confirmed.

        Args:
          task: that is being left.
          incarnation: of the server that has to have confirmed it.
          num_actors: how many are waited for; for those that are silent, only for a while.
        """
        alive = self.alive()
        is_early = time.monotonic() - self._begin < _SILENT_S
        if is_early and len({report.actor for report in alive}) < num_actors:
            return False
        return bool(alive) and all(
            report.task > task and report.incarnation == incarnation for report in alive
        )

    def note_episodes(self, written: Iterable[tuple[int, int]]) -> None:
        """Counts episodes, each a life and a number in it, that were taken before a restart."""
        for life, number in written:
            self._episodes[life] = max(self._episodes.get(life, 0), number + 1)

    def get_state(self) -> dict[str, np.ndarray]:
        """The accounts as rows [life, frames, transitions, episodes], for a snapshot."""
        accounts = (self._frames, self._transitions, self._episodes)
        lives = self._frames.keys() | self._episodes.keys()
        rows = [[life, *(account.get(life, 0) for account in accounts)] for life in sorted(lives)]
        return {"ledger": np.array(rows, np.int64).reshape(-1, 4)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores `get_state`'s result."""
        for life, frames, transitions, episodes in state["ledger"].tolist():
            self._frames[life] = frames
            self._transitions[life] = transitions
            self._episodes[life] = episodes

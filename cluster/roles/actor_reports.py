"""What an actor reports to the learner: its journals, and the episodes it has played."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

from cluster.messages import messages
from replay.reverb.writing import actor_journal, journaled_writer

_MAX_EPISODES = 500


class UnknownEpisodes:
    """Finished episodes that the learner is not known to have recorded; threads share it."""

    def __init__(self, first: int):
        """The next one has number `first`."""
        self._first = first
        self._episodes: list[messages.EpisodeReport] = []
        self._lock = threading.Lock()

    def add(self, episode: messages.EpisodeReport) -> None:
        """Adds one with the next number."""
        with self._lock:
            self._episodes.append(episode)

    def after(self, num_known: int, num_kept: int) -> tuple[int, list[messages.EpisodeReport]]:
        """Forgets those with numbers below `num_known`.

        Returns:
          The first number of the others, and those of them with numbers below `num_kept`, which a
          restarted actor would know; no more than fit a small message.
        """
        with self._lock:
            done = min(max(0, num_known - self._first), len(self._episodes))
            self._first += done
            del self._episodes[:done]
            count = min(max(0, num_kept - self._first), _MAX_EPISODES)
            return self._first, self._episodes[:count]


class _Delivered(NamedTuple):
    """How far a journal has come with a server; see messages.Report."""

    incarnation: int = 0
    confirmed: int = 0
    task: int = -1


class ActorReports:
    """Assembles the reports; what is noted in one thread may be reported in another.

    Attributes:
      episodes: that were played.
    """

    def __init__(
        self, actor: int, own: actor_journal.Journal, absent: Sequence[actor_journal.Journal]
    ):
        """Nothing is known to have been delivered yet.

        Args:
          actor: its index.
          own: its journal.
          absent: those of absent actors, which it sends.
        """
        self._actor = actor
        self._own, self._absent = own, absent
        self.episodes = UnknownEpisodes(own.counters.get("episodes", 0))
        self._delivered: dict[int, _Delivered] = {}

    def note_task(self, writer: journaled_writer.JournaledWriter, task: int) -> None:
        """Notes that a task is played, once nothing is left of earlier ones."""
        incarnation = messages.short_incarnation(writer.incarnation)
        delivered = self._delivered.get(writer.journal_id, _Delivered())
        if delivered.incarnation != incarnation:
            delivered = _Delivered(incarnation)
        if writer.is_settled:
            delivered = delivered._replace(task=task)
        # In one step: another thread reports it.
        self._delivered[writer.journal_id] = delivered

    def note_confirmed(self, progress: journaled_writer.JournalProgress) -> None:
        """Notes what is confirmed; call it after `note_task` for the same server."""
        delivered = self._delivered[progress.journal_id]
        self._delivered[progress.journal_id] = delivered._replace(
            confirmed=progress.confirmed_through
        )

    def make(self, announcement: messages.Announcement | None) -> list[messages.Report]:
        """The reports by the newest announcement; the actor's own journal comes first."""
        known = announcement.episodes.get(self._own.journal_id, 0) if announcement else 0
        kept = self._own.counters.get("episodes", 0)
        own = self._report(self._own, *self.episodes.after(known, kept))
        return [own, *(self._report(journal, 0, []) for journal in self._absent)]

    def _report(
        self, journal: actor_journal.Journal, first: int, episodes: list[messages.EpisodeReport]
    ) -> messages.Report:
        delivered = self._delivered.get(journal.journal_id, _Delivered())
        return messages.Report(
            journal_id=journal.journal_id,
            actor=self._actor,
            frames=journal.counters.get("frames", 0),
            transitions=journal.counters.get("transitions", 0),
            task=delivered.task,
            confirmed=delivered.confirmed,
            incarnation=delivered.incarnation,
            first_episode=first,
            episodes=episodes,
        )

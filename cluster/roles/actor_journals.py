"""An actor's journal, and those of absent actors that it sends: opened, served, kept short."""

import time
from collections.abc import Callable
from pathlib import Path

from absl import logging

from cluster import context
from cluster.messages import messages
from cluster.roles import actor_reports
from replay.reverb.writing import actor_journal, journaled_writer

_SYNC_S = 5.0


class ActorJournals:
    """Journals and their writers.

    Attributes:
      own: the actor's journal.
      writer: for it, once `open` was called.
      reports: what the learner is told of the journals.
    """

    writer: journaled_writer.JournaledWriter

    def __init__(
        self, role: context.Role, stop: Callable[[], bool], while_waiting: Callable[[], None]
    ):
        """Opens the journals, and connects to nothing.

        Args:
          role: the actor's.
          stop: whether to end all waiting.
          while_waiting: called about twice a second while a writer waits.

        Raises:
          JournalError: one is damaged.
          JournalInUseError: another process has one open.
        """
        self._role, self._stop, self._while_waiting = role, stop, while_waiting
        self.own = self._open_journal(role.journal_dir)
        self._absent = [self._open_journal(path) for path in role.absent_journal_dirs()]
        self.reports = actor_reports.ActorReports(role.index, self.own, self._absent)
        self._writers: list[journaled_writer.JournaledWriter] = []
        self._synced_at = self._served_at = time.monotonic()

    def _open_journal(self, path: Path) -> actor_journal.Journal:
        megabytes = self._role.distributed.journal_segment_mb
        return actor_journal.Journal(path, int(megabytes * 2**20))

    def open(self) -> None:
        """Connects, and sends what the server may lack of all journals, the actor's own last.

        Raises:
          connection.Stopped: `stop` said so.
        """
        for journal in self._absent:
            self._open_writer(journal)
        self.writer = self._open_writer(self.own)

    def _open_writer(self, journal: actor_journal.Journal) -> journaled_writer.JournaledWriter:
        writer = journaled_writer.JournaledWriter(
            journal,
            self._role.connect,
            self._stop,
            self._role.label,
            self._role.settings.replay.capacity,
            self._role.distributed.max_unconfirmed,
            while_waiting=self._while_waiting,
        )
        self._writers.append(writer)
        return writer

    @property
    def num_pending(self) -> int:
        """Transitions that were sent but not confirmed yet."""
        return sum(writer.num_pending for writer in self._writers)

    def tend(self, task: int, announcement: messages.Announcement | None) -> None:
        """Notes what is confirmed, and drops what nobody needs; called twice a second or more.

        Args:
          task: the one being played.
          announcement: the learner's newest; None before the first.
        """
        now = time.monotonic()
        if now - self._synced_at > _SYNC_S:
            self._synced_at = now
            for writer in self._writers:
                self._truncate(writer, task, announcement)
        for writer in self._writers:
            self.reports.note_task(writer, task)

    def _truncate(
        self,
        writer: journaled_writer.JournaledWriter,
        task: int,
        announcement: messages.Announcement | None,
    ) -> None:
        try:
            progress = writer.progress()
        except OSError as error:  # a full disk; nothing is dropped that may not be on it
            logging.warning("%s: journal not flushed: %s", self._role.label, error)
            return
        self.reports.note_task(writer, task)
        self.reports.note_confirmed(progress)
        if announcement is not None and progress.journal_id in announcement.confirmed:
            writer.truncate(announcement.confirmed[progress.journal_id])

    def serve(self) -> None:
        """Has idle writers send what a restarted server lacks."""
        now = time.monotonic()
        if now - self._served_at > _SYNC_S:
            self._served_at = now
            for writer in self._writers:
                writer.serve()

    def close(self) -> None:
        """Ends the connections, and lets other processes open the journals."""
        for writer in self._writers:
            writer.close()
        for journal in (*self._absent, self.own):
            journal.close()

"""A producer's journal: records kept on its disk until nobody can need them again.

A directory with segments, files of consecutive records named by the sequence number of their
first; and a file of state that changes in place, so that a full disk can't prevent changes. A
killed process leaves whole records and perhaps the beginning of one, which is truncated when the
journal is opened again.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from replay.reverb.writing import journal_files, journal_state, segments
from replay.reverb.writing.journal_files import JournalError, JournalInUseError, Record

__all__ = ["DEFAULT_SEGMENT_BYTES", "Journal", "JournalError", "JournalInUseError", "Record"]

DEFAULT_SEGMENT_BYTES = 64 << 20


class Journal(contextlib.AbstractContextManager):
    """Records on disk, numbered from 1 over all processes that have opened the directory.

    For one process at a time, and one thread. Records survive the process as soon as they are
    appended, and a machine crash after `sync`.

    Attributes:
      directory: where it is.
    """

    def __init__(self, directory: Path, segment_bytes: int = DEFAULT_SEGMENT_BYTES):
        """Opens the journal in a directory, or creates one.

        Args:
          directory: of this journal alone.
          segment_bytes: a segment of this size gets no more records.

        Raises:
          JournalError: it is damaged, or its file system has no locks.
          JournalInUseError: another process has it open.
        """
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = journal_files.lock(directory)
        with contextlib.ExitStack() as opened:
            opened.callback(self._lock.close)
            has_segments = any(directory.glob(f"*{segments.SUFFIX}"))
            self._state = journal_state.JournalState(directory / "state", has_segments)
            self._segments = segments.Segments(directory, self.journal_id, segment_bytes)
            opened.callback(self.close)
            base = self._state["base_seq"], self._state["base_counters"]
            self._segments.load(base, self._state["synced"])
            opened.pop_all()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another process open it."""
        self._segments.close()
        self._state.close()
        self._lock.close()

    @property
    def journal_id(self) -> int:
        """63 random bits, drawn when the directory was made."""
        return self._state["journal_id"]

    @property
    def last_seq(self) -> int:
        """Number of the newest record; 0 before the first."""
        return self._segments.last_seq

    @property
    def counters(self) -> dict[str, int]:
        """The counters of the newest record that has any."""
        return self._segments.counters

    @property
    def truncated(self) -> int:
        """The largest number given to `truncate`; 0 before the first time."""
        return self._state["truncated"]

    @property
    def confirmed(self) -> int:
        """The last number given to `set_confirmed`, at least `truncated`."""
        return min(max(self._state["confirmed"], self.truncated), self.last_seq)

    @property
    def incarnation(self) -> int | None:
        """The confirming server's, as given to `set_incarnation`; None before."""
        return self._state["incarnation"]

    def append(self, record: bytes, counters: Mapping[str, int] | None = None) -> int:
        """Writes a record; returns its number.

        Args:
          record: any bytes, fewer than 2**32.
          counters: kept as `counters` while this is the last record; none: unchanged.

        Raises:
          OSError: it could not be written (a full disk: errno.ENOSPC); the journal is unchanged.
        """
        if self._segments.is_full:
            # After a machine crash, only the last segment may have lost its end.
            self.sync()
        self._segments.append(record, counters)
        return self.last_seq

    def segment_of(self, seq: int) -> int:
        """Number of the first record in the segment that holds, or will hold, record `seq`."""
        return self._segments.segment_of(seq)

    def records(self, after_seq: int) -> Iterator[tuple[int, Record]]:
        """The records after `after_seq` that exist now, with their numbers, read lazily.

        Raises:
          JournalError: a record is damaged.
        """
        return self._segments.records(after_seq)

    def sync(self) -> None:
        """Makes all records survive a machine crash.

        Raises:
          OSError: they can't be written to disk.
        """
        if self._state["synced"] < self.last_seq and self._segments.sync():
            self._state.write(synced=self.last_seq)

    def set_confirmed(self, seq: int) -> None:
        """Notes that all records through `seq` need not be sent again to this incarnation."""
        if seq != self._state["confirmed"]:
            self._state.write(confirmed=seq)

    def set_incarnation(self, incarnation: int, confirmed: int = 0) -> None:
        """Notes another server, and the record through which its checkpoint has all."""
        self._state.write(incarnation=incarnation, confirmed=confirmed)

    def truncate(self, through_seq: int) -> None:
        """Notes that records through `through_seq` can't be needed again; drops segments if it can.

        Raises:
          ValueError: there is no such record yet.
        """
        if through_seq > self.last_seq:
            raise ValueError(f"through_seq = {through_seq}: expected at most {self.last_seq}")
        if through_seq <= self.truncated:
            return
        count, (base_seq, base_counters) = self._segments.split(through_seq)
        self._state.write(truncated=through_seq, base_seq=base_seq, base_counters=base_counters)
        self._state.sync()
        self._segments.drop(count)

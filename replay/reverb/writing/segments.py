"""The files of a journal that hold its records, in order."""

import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from core import durable_files
from replay.reverb.writing import journal_files
from replay.reverb.writing.journal_files import JournalError, Record

SUFFIX = ".segment"
_VERSION = 2

Base = tuple[int, dict[str, int]]
"""The number of a record, or 0, and the counters at that point."""


class Segments:
    """Files of records, each named by the number of its first; only the last one grows.

    A segment begins with a record that names its journal, and the counters so far.

    Attributes:
      last_seq: number of the newest record; 0 before the first.
      counters: those of the newest record that has any.
    """

    def __init__(self, directory: Path, journal_id: int, segment_bytes: int):
        """Reads nothing yet.

        Args:
          directory: the journal's.
          journal_id: the journal's.
          segment_bytes: a segment of this size gets no more records.
        """
        self._directory = directory
        self._journal_id = journal_id
        self._segment_bytes = segment_bytes
        self._firsts: list[int] = []
        self._file: io.FileIO | None = None
        self._end = 0
        self.last_seq = 0
        self.counters: dict[str, int] = {}

    def load(self, base: Base, synced: int) -> None:
        """Finds the segments, the end of the last one, and the counters.

        Args:
          base: the newest record that was dropped.
          synced: number of a record that must be there.

        Raises:
          JournalError: a segment is damaged or missing.
        """
        base_seq, counters = base
        names = self._directory.glob(f"*{SUFFIX}")
        firsts = sorted(int(path.name.removesuffix(SUFFIX)) for path in names)
        for first in firsts:
            if first <= base_seq:  # the process was killed while it dropped them
                self._path(first).unlink()
        self._firsts = [first for first in firsts if first > base_seq]
        if self._firsts and _is_unborn(self._path(self._firsts[-1]), self._firsts[-1]):
            self._path(self._firsts.pop()).unlink()
        if self._firsts and self._firsts[0] != base_seq + 1:
            path = self._path(base_seq + 1)
            raise JournalError(f"{path}: missing, though there are later segments")
        self.last_seq, self.counters = base_seq, dict(counters)
        if self._firsts:
            self._load_last()
        if self.last_seq < synced:
            raise JournalError(
                f"{self._path(self._firsts[-1] if self._firsts else base_seq + 1)}: ends with "
                f"record {self.last_seq}, but {synced} were written"
            )

    def close(self) -> None:
        """Closes the last segment; it can't be used any more."""
        if self._file is not None:
            self._file.close()

    @property
    def is_full(self) -> bool:
        """Whether the next record goes into a new segment."""
        return self._file is None or self._end >= self._segment_bytes

    def append(self, record: bytes, counters: Mapping[str, int] | None) -> None:
        """Writes a record; if it goes into a new segment, the earlier ones must be synced.

        Raises:
          OSError: it could not be written; nothing has changed.
        """
        if self.is_full:
            self._start()
        self._write(journal_files.frame(self.last_seq + 1, record, counters))
        self.last_seq += 1
        if counters:
            self.counters = dict(counters)

    def segment_of(self, seq: int) -> int:
        """Number of the first record in the segment that holds, or will hold, record `seq`."""
        if seq > self.last_seq:
            return self.last_seq + 1 if self.is_full else self._firsts[-1]
        return max((first for first in self._firsts if first <= seq), default=seq)

    def records(self, after_seq: int) -> Iterator[tuple[int, Record]]:
        """See Journal.records."""
        last = self.last_seq
        for first, end in self._bounds():
            if end > after_seq + 1:
                for seq, record in _read_records(self._path(first), first, min(end, last + 1)):
                    if seq > after_seq:
                        yield seq, record

    def sync(self) -> bool:
        """Makes the last segment survive a machine crash; returns whether there is one."""
        if self._file is None:
            return False
        os.fsync(self._file.fileno())
        return True

    def split(self, through_seq: int) -> tuple[int, Base]:
        """How many of the oldest segments end by `through_seq`; their newest record."""
        count = sum(end <= through_seq + 1 for _, end in self._bounds())
        if count == len(self._firsts):
            return count, (self.last_seq, self.counters)
        first = self._firsts[count]
        return count, _read_base(self._path(first), first, self._journal_id)

    def drop(self, count: int) -> None:
        """Removes the `count` oldest segments."""
        dropped, kept = self._firsts[:count], self._firsts[count:]
        if not kept and self._file is not None:
            self._file.close()
            self._file = None
        for first in dropped:
            self._path(first).unlink()
        self._firsts = kept

    def _path(self, first: int) -> Path:
        return self._directory / f"{first:020d}{SUFFIX}"

    def _bounds(self) -> list[tuple[int, int]]:
        """Numbers of each segment's first record and of the first after it."""
        return list(itertools.pairwise([*self._firsts, self.last_seq + 1]))

    def _load_last(self) -> None:
        first = self._firsts[-1]
        path = self._path(first)
        self._file = io.FileIO(path, "r+")
        with path.open("rb") as file:
            self.last_seq, self.counters = _read_base(path, first, self._journal_id)
            journal_files.read(file, first - 1, path, may_end=True)
            self._end = file.tell()
            while True:
                record = journal_files.read(file, self.last_seq + 1, path, may_end=True)
                if record is None:
                    break
                self.last_seq += 1
                self.counters = record.counters or self.counters
                self._end = file.tell()
        self._file.truncate(self._end)

    def _start(self) -> None:
        """Starts a new file."""
        first = self.last_seq + 1
        previous, previous_end = self._file, self._end
        self._file, self._end = io.FileIO(self._path(first), "x"), 0
        try:
            self._write(journal_files.frame(first - 1, _made(self._journal_id), self.counters))
        except BaseException:
            self._file.close()
            self._path(first).unlink()
            self._file, self._end = previous, previous_end
            raise
        self._firsts.append(first)
        durable_files.flush(self._directory)
        if previous is not None:
            previous.close()

    def _write(self, frame: bytes) -> None:
        """Writes at the end, or leaves the file unchanged."""
        assert self._file is not None
        try:
            journal_files.write_all(self._file.fileno(), frame, self._end)
        except BaseException:
            self._file.truncate(self._end)
            raise
        self._end += len(frame)


def _is_unborn(path: Path, first: int) -> bool:
    """Whether the process was killed before it had written the segment's first record."""
    with path.open("rb") as file:
        return journal_files.read(file, first - 1, path, may_end=True) is None


def _made(journal_id: int) -> bytes:
    """The content of the record that a segment begins with."""
    return json.dumps({"version": _VERSION, "journal_id": journal_id}).encode()


def _read_base(path: Path, first: int, journal_id: int) -> Base:
    """What a segment begins with: the number of the record before it, and the counters so far."""
    with path.open("rb") as file:
        record = journal_files.read(file, first - 1, path, may_end=False)
    assert record is not None
    made = json.loads(record.content)
    if made != json.loads(_made(journal_id)):
        raise JournalError(f"{path}: offset 0: of another journal: {made}")
    return first - 1, record.counters


def _read_records(path: Path, first: int, end: int) -> Iterator[tuple[int, Record]]:
    """A segment's records [first, end), with their numbers."""
    with path.open("rb") as file:
        journal_files.read(file, first - 1, path, may_end=False)
        for seq in range(first, end):
            record = journal_files.read(file, seq, path, may_end=False)
            assert record is not None
            yield seq, record

"""A producer's journal: records on its disk until nobody can need them again.

A directory with segments, files of records one after the other, named by the sequence number of
their first; and a file of what changes in place, so that a full disk can't keep it from changing.
What a killed process leaves is a whole number of records and the beginning of one, which is cut
off when the journal is opened again.
"""

import contextlib
import fcntl
import io
import itertools
import json
import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

DEFAULT_SEGMENT_BYTES = 64 << 20
_VERSION = 1
_SUFFIX = ".segment"
# Bytes of the counters, bytes of the record, CRC-32 of both together, CRC-32 of these three; the
# last one begins with the sequence number, so a record is none at another place.
_HEADER = struct.Struct("<IIII")
_SLOT_BYTES = 4096
_SLOT_HEADER = struct.Struct("<II")  # bytes, CRC-32


class JournalError(RuntimeError):
    """The journal is damaged; the message names the file and the offset in it."""


class JournalInUseError(RuntimeError):
    """Another process has the journal open, perhaps one that is about to end."""


class Record(NamedTuple):
    """What was given to `Journal.append`; counters are empty if there were none."""

    counters: dict[str, int]
    content: bytes


class Journal:
    """Records on disk, numbered from 1 over all processes that have opened the directory.

    One process at a time, and one thread. Records outlast the process as soon as they are
    appended, and a crash of the machine after `sync`.

    Attributes:
      directory: where it is.
      last_seq: number of the newest record; 0 before the first.
      counters: what the newest record that has counters came with.
    """

    def __init__(self, directory: Path, segment_bytes: int = DEFAULT_SEGMENT_BYTES):
        """Opens the journal in a directory, or makes one.

        Args:
          directory: of this journal alone.
          segment_bytes: a segment that has as many gets no more records.

        Raises:
          JournalError: it is damaged, or its file system has no locks.
          JournalInUseError: another process has it open.
        """
        self.directory = directory
        self._segment_bytes = segment_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory)
        self._file: io.FileIO | None = None
        self._end = 0
        self._segments: list[int] = []
        with contextlib.ExitStack() as opened:
            opened.callback(self._lock.close)
            self._state = _State(directory / "state", any(directory.glob(f"*{_SUFFIX}")))
            opened.callback(self.close)
            self._load()
            opened.pop_all()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another process open it."""
        if self._file is not None:
            self._file.close()
        self._state.close()
        self._lock.close()

    @property
    def journal_id(self) -> int:
        """63 random bits, drawn when the directory was made."""
        return self._state["life"]

    @property
    def truncated(self) -> int:
        """The largest number given to `truncate`; 0 before the first time."""
        return self._state["truncated"]

    @property
    def confirmed(self) -> int:
        """What `set_confirmed` was told last, at least `truncated`."""
        return min(max(self._state["confirmed"], self.truncated), self.last_seq)

    @property
    def incarnation(self) -> int | None:
        """Of the server that confirmed, as told to `set_incarnation`; None before."""
        return self._state["incarnation"]

    @property
    def next_segment(self) -> int:
        """Number of the first record in the segment that the next record goes into."""
        return self.last_seq + 1 if self._is_full() else self._segments[-1]

    def append(self, record: bytes, counters: Mapping[str, int] | None = None) -> int:
        """Writes a record; returns its number.

        Args:
          record: any bytes, fewer than 2**32.
          counters: to be found again as `counters` if this is the last record; none: as before.

        Raises:
          OSError: it could not be written (a full disk: errno.ENOSPC); the journal is as before.
        """
        if self._is_full():
            self._start_segment()
        seq = self.last_seq + 1
        self._write(_frame(seq, record, counters))
        self.last_seq = seq
        if counters:
            self.counters = dict(counters)
        return seq

    def segment_of(self, seq: int) -> int:
        """Number of the first record in the segment that holds record `seq`, or will."""
        if seq > self.last_seq:
            return self.next_segment
        return max((first for first in self._segments if first <= seq), default=seq)

    def records(self, after_seq: int) -> Iterator[tuple[int, Record]]:
        """The records after one that are there now, with their numbers, read as they are asked for.

        Raises:
          JournalError: a record is damaged.
        """
        last = self.last_seq
        for first, end in self._bounds():
            if end > after_seq + 1:
                for seq, record in self._read_segment(first, min(end, last + 1)):
                    if seq > after_seq:
                        yield seq, record

    def sync(self) -> None:
        """Makes all records outlast a crash of the machine.

        Raises:
          OSError: the disk does not take them.
        """
        if self._file is not None and self._state["synced"] < self.last_seq:
            os.fsync(self._file.fileno())
            self._state.write(synced=self.last_seq)

    def set_confirmed(self, seq: int) -> None:
        """Notes that all records through one need not be sent again to this incarnation."""
        if seq != self._state["confirmed"]:
            self._state.write(confirmed=seq)

    def set_incarnation(self, incarnation: int, confirmed: int = 0) -> None:
        """Notes another server, and the record through which it has all from its checkpoint."""
        self._state.write(incarnation=incarnation, confirmed=confirmed)

    def truncate(self, through_seq: int) -> None:
        """Notes that the records through one can't be needed again; drops what segments it can.

        Raises:
          ValueError: there is no such record yet.
        """
        if through_seq > self.last_seq:
            raise ValueError(f"through_seq = {through_seq}: expected at most {self.last_seq}")
        if through_seq <= self.truncated:
            return
        dropped = [first for first, end in self._bounds() if end <= through_seq + 1]
        kept = self._segments[len(dropped) :]
        base = self._segment_base(kept[0]) if kept else (self.last_seq, self.counters)
        self._state.write(truncated=through_seq, base_seq=base[0], base_counters=base[1])
        self._state.sync()
        if not kept and self._file is not None:
            self._file.close()
            self._file = None
        for first in dropped:
            self._path(first).unlink()
        self._segments = kept

    def _is_full(self) -> bool:
        """Whether the next record goes into a new segment."""
        return self._file is None or self._end >= self._segment_bytes

    def _path(self, first: int) -> Path:
        return self.directory / f"{first:020d}{_SUFFIX}"

    def _bounds(self) -> list[tuple[int, int]]:
        """Numbers of each segment's first record and of the first after it."""
        return list(itertools.pairwise([*self._segments, self.last_seq + 1]))

    def _load(self) -> None:
        """Finds the segments, the end of the last one, and the counters."""
        base = self._state["base_seq"]
        names = self.directory.glob(f"*{_SUFFIX}")
        firsts = sorted(int(path.name.removesuffix(_SUFFIX)) for path in names)
        for first in firsts:
            if first <= base:  # the process was killed while it dropped them
                self._path(first).unlink()
        self._segments = [first for first in firsts if first > base]
        self._drop_unborn_segment()
        if self._segments and self._segments[0] != base + 1:
            raise JournalError(f"{self._path(base + 1)}: missing, though there are later segments")
        self.last_seq, self.counters = base, dict(self._state["base_counters"])
        if self._segments:
            self._load_last_segment()
        if self.last_seq < self._state["synced"]:
            raise JournalError(
                f"{self._path(self._segments[-1] if self._segments else base + 1)}: ends with "
                f"record {self.last_seq}, but {self._state['synced']} were written"
            )

    def _drop_unborn_segment(self) -> None:
        """Removes the last segment if its process was killed before the first record."""
        if self._segments:
            path = self._path(self._segments[-1])
            with path.open("rb") as file:
                if _read(file, self._segments[-1] - 1, path, may_end=True) is None:
                    path.unlink()
                    self._segments.pop()

    def _load_last_segment(self) -> None:
        first = self._segments[-1]
        path = self._path(first)
        self._file = io.FileIO(path, "r+")
        with path.open("rb") as file:
            self.last_seq, self.counters = self._segment_base(first)
            _read(file, first - 1, path, may_end=True)
            self._end = file.tell()
            while (record := _read(file, self.last_seq + 1, path, may_end=True)) is not None:
                self.last_seq += 1
                self.counters = record.counters or self.counters
                self._end = file.tell()
        self._file.truncate(self._end)

    def _segment_base(self, first: int) -> tuple[int, dict[str, int]]:
        """What a segment begins with: the number of the record before it, and the counters then."""
        path = self._path(first)
        with path.open("rb") as file:
            record = _read(file, first - 1, path, may_end=False)
        assert record is not None
        made = json.loads(record.content)
        if made != {"version": _VERSION, "life": self.journal_id}:
            raise JournalError(f"{path}: offset 0: of another journal: {made}")
        return first - 1, record.counters

    def _read_segment(self, first: int, end: int) -> Iterator[tuple[int, Record]]:
        path = self._path(first)
        with path.open("rb") as file:
            _read(file, first - 1, path, may_end=False)
            for seq in range(first, end):
                record = _read(file, seq, path, may_end=False)
                assert record is not None
                yield seq, record

    def _start_segment(self) -> None:
        """Goes on in a new file; the one before is then safe from a crash of the machine."""
        self.sync()
        first = self.last_seq + 1
        made = json.dumps({"version": _VERSION, "life": self.journal_id}).encode()
        previous, previous_end = self._file, self._end
        self._file, self._end = io.FileIO(self._path(first), "x"), 0
        try:
            self._write(_frame(first - 1, made, self.counters))
        except BaseException:
            self._file.close()
            self._path(first).unlink()
            self._file, self._end = previous, previous_end
            raise
        self._segments.append(first)
        _sync_directory(self.directory)
        if previous is not None:
            previous.close()

    def _write(self, frame: bytes) -> None:
        """Writes at the end, or leaves it as it was."""
        assert self._file is not None
        try:
            _write_all(self._file.fileno(), frame, self._end)
        except BaseException:
            self._file.truncate(self._end)
            raise
        self._end += len(frame)


class _State:
    """A few values that are changed in place: two slots, of which the newer whole one counts.

    Neither a kill nor a crash of the machine can damage both, and no change needs room on the disk.
    """

    def __init__(self, path: Path, must_exist: bool):
        self._path = path
        if not path.exists():
            if must_exist:
                raise JournalError(f"{path}: missing, though there are segments")
            self._make()
        self._file = io.FileIO(path, "r+")
        content = self._file.read(2 * _SLOT_BYTES)
        slots = [_read_slot(content[:_SLOT_BYTES]), _read_slot(content[_SLOT_BYTES:])]
        self._values = max(filter(None, slots), key=lambda slot: slot["generation"], default={})
        if not self._values:
            self._file.close()
            raise JournalError(f"{path}: offset 0: damaged")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def write(self, **changes: Any) -> None:
        values = {**self._values, **changes, "generation": self._values["generation"] + 1}
        offset = values["generation"] % 2 * _SLOT_BYTES
        _write_all(self._file.fileno(), _slot(values), offset)
        self._values = values

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _make(self) -> None:
        values = {
            "generation": 0,
            "life": secrets.randbits(63),
            "incarnation": None,
            "confirmed": 0,
            "synced": 0,
            "truncated": 0,
            "base_seq": 0,
            "base_counters": {},
        }
        temporary = self._path.with_name("state.new")
        with temporary.open("wb") as file:
            file.write(_slot(values).ljust(2 * _SLOT_BYTES, b"\0"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        _sync_directory(self._path.parent)


def _slot(values: Mapping[str, Any]) -> bytes:
    content = json.dumps(values).encode()
    if _SLOT_HEADER.size + len(content) > _SLOT_BYTES:
        raise ValueError(f"counters of {len(content)} bytes: expected some hundreds at most")
    return _SLOT_HEADER.pack(len(content), zlib.crc32(content)) + content


def _read_slot(slot: bytes) -> dict[str, Any] | None:
    if len(slot) < _SLOT_HEADER.size:
        return None
    length, checksum = _SLOT_HEADER.unpack_from(slot)
    content = slot[_SLOT_HEADER.size : _SLOT_HEADER.size + length]
    if not length or zlib.crc32(content) != checksum:
        return None
    return json.loads(content)


def _frame(seq: int, record: bytes, counters: Mapping[str, int] | None) -> bytes:
    """A record as it is written."""
    told = json.dumps(dict(counters)).encode() if counters else b""
    checksum = zlib.crc32(record, zlib.crc32(told))
    header = _HEADER.pack(len(told), len(record), checksum, 0)
    own = zlib.crc32(header[:-4], seq & 0xFFFFFFFF)
    return b"".join((header[:-4], struct.pack("<I", own), told, record))


def _read(file: BinaryIO, seq: int, path: Path, may_end: bool) -> Record | None:
    """Reads the record of a number at the file's position.

    Args:
      file: to read from.
      seq: its number.
      path: the file's, for errors.
      may_end: whether the file may end here, or within the record.

    Returns:
      The record; None if the file ends, the position is then any.

    Raises:
      JournalError: it is damaged, or the file ends and may not.
    """
    begin = file.tell()
    header = file.read(_HEADER.size)
    if len(header) == _HEADER.size:
        num_told, num_record, checksum, own = _HEADER.unpack(header)
        if own != zlib.crc32(header[:-4], seq & 0xFFFFFFFF):
            if may_end and not any(header) and not any(file.read()):
                return None  # the machine crashed: the file has its length, but not its content
            raise JournalError(f"{path}: offset {begin}: record {seq} is damaged")
        body = file.read(num_told + num_record)
        if zlib.crc32(body) == checksum and len(body) == num_told + num_record:
            return Record(json.loads(body[:num_told] or b"{}"), body[num_told:])
        if len(body) == num_told + num_record and (not may_end or file.read(1)):
            raise JournalError(f"{path}: offset {begin}: record {seq} is damaged")
    if not may_end:
        raise JournalError(f"{path}: offset {begin}: ends before record {seq}")
    return None


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    """Writes at an offset; a full disk takes a part, and refuses the rest."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(directory: Path) -> BinaryIO:
    """Makes the directory this process's, as long as the returned file is open."""
    file = (directory / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise JournalInUseError(f"{directory}: another process uses this journal") from error
    except OSError as error:
        file.close()
        raise JournalError(f"{directory}: its file system has no locks: {error}") from error
    return file

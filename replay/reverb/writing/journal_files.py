"""How records are written to a file and read back, and how a journal's directory is locked."""

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Sizes of the counters and of the record, CRC-32 of both together, CRC-32 of these three; the last
# is seeded with the sequence number, so that a record is invalid in another place.
_HEADER = struct.Struct("<IIII")


class JournalError(RuntimeError):
    """The journal is damaged; the message names the file and the offset in it."""


class JournalInUseError(RuntimeError):
    """Another process has the journal open, perhaps one that is about to end."""


class Record(NamedTuple):
    """What was given to `Journal.append`; counters are empty if there were none."""

    counters: dict[str, int]
    content: bytes


def frame(seq: int, record: bytes, counters: Mapping[str, int] | None) -> bytes:
    """A record as it is written."""
    told = json.dumps(dict(counters)).encode() if counters else b""
    checksum = zlib.crc32(record, zlib.crc32(told))
    header = _HEADER.pack(len(told), len(record), checksum, 0)
    own = zlib.crc32(header[:-4], seq & 0xFFFFFFFF)
    return b"".join((header[:-4], struct.pack("<I", own), told, record))


def read(file: BinaryIO, seq: int, path: Path, may_end: bool) -> Record | None:
    """Reads record `seq` at the file's position.

    Args:
      file: to read from.
      seq: its number.
      path: the file's, for errors.
      may_end: whether the file may end here, or within the record.

    Returns:
      The record; None if the file ends (the position is then undefined).

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


def write_all(descriptor: int, content: bytes, offset: int) -> None:
    """Writes at an offset; a full disk takes a part, and refuses the rest."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def lock(directory: Path) -> BinaryIO:
    """Locks the directory for this process, as long as the returned file is open."""
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

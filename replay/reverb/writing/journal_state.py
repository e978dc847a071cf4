"""The part of a journal that changes in place: a few values in a file of fixed size."""

import io
import json
import os
import secrets
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import durable_files
from replay.reverb.writing import journal_files

_SLOT_BYTES = 4096
_SLOT_HEADER = struct.Struct("<II")  # bytes, CRC-32


class JournalState:
    """A few values that are changed in place: two slots, of which the newer intact one counts.

    Neither a kill nor a machine crash can damage both, and no change needs room on the disk.
    """

    def __init__(self, path: Path, must_exist: bool):
        """Reads the file, or creates it.

        Raises:
          journal_files.JournalError: it is damaged, or missing though it must exist.
        """
        self._path = path
        if not path.exists():
            if must_exist:
                raise journal_files.JournalError(f"{path}: missing, though there are segments")
            self._make()
        self._file = io.FileIO(path, "r+")
        content = self._file.read(2 * _SLOT_BYTES)
        slots = [_read_slot(content[:_SLOT_BYTES]), _read_slot(content[_SLOT_BYTES:])]
        self._values = max(filter(None, slots), key=lambda slot: slot["generation"], default={})
        if not self._values:
            self._file.close()
            raise journal_files.JournalError(f"{path}: offset 0: damaged")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def write(self, **changes: Any) -> None:
        """Changes values by name. Raises OSError, leaving them unchanged."""
        values = {**self._values, **changes, "generation": self._values["generation"] + 1}
        offset = values["generation"] % 2 * _SLOT_BYTES
        journal_files.write_all(self._file.fileno(), _slot(values), offset)
        self._values = values

    def sync(self) -> None:
        """Makes the values survive a machine crash."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _make(self) -> None:
        values = {
            "generation": 0,
            "journal_id": secrets.randbits(63),
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
        durable_files.flush(self._path.parent)


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

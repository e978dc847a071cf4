"""Files that must survive a crash: flushed, checksummed, replaced in one step."""

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path


def checksum_of(path: Path) -> int:
    """CRC-32 of a file."""
    checksum = 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def flush(path: Path) -> None:
    """Waits until a file's contents, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe(path: Path) -> list[int]:
    """Flushes a file and returns its size in bytes and its checksum."""
    flush(path)
    return [path.stat().st_size, checksum_of(path)]


def whole_lines(path: Path) -> list[str]:
    """The lines of a text file, but for a last one without an end, which may be cut."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def drop_torn_line(path: Path) -> None:
    """Cuts off such a line, as a crash or a full disk leaves it; there need be no file."""
    if not path.exists():
        return
    with path.open("r+b") as stream:
        if not stream.seek(0, os.SEEK_END):
            return
        stream.seek(-1, os.SEEK_END)
        if stream.read() == b"\n":
            return
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)


def replace_text(path: Path, text: str) -> None:
    """Writes a text file so that a reader sees the old one or the new one, never a part."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file to write, which takes the place of another in one step once it is whole."""
    partial = path.with_name(path.name + ".tmp")
    try:
        yield partial
        flush(partial)
        partial.replace(path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)

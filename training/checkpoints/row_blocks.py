"""The replay's observations on disk: compressed blocks of rows that snapshots share."""

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from core import durable_files

_BLOCK_BYTES = 32 << 20


@dataclasses.dataclass
class RowBlocks:
    """Rows of a time-major ring [K, C, N, ...] at one moment.

    Row r (counted from the start of the run) lies at position r % C. Block b holds the rows from
    b * R on, R of them once it is complete; the last may be shorter, the first may have lost its
    oldest rows.

    Attributes:
      shape: of the ring.
      dtype: of the ring.
      num_rows: how many rows were ever added.
      copied: host copies of the blocks that no earlier snapshot has, by file name, [K, r, N, ...].
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    num_rows: int
    copied: dict[str, np.ndarray]

    @classmethod
    def copy(cls, ring: Any, num_rows: int, earlier: Path | None) -> "RowBlocks":
        """Copies from the device what the snapshot `earlier` does not have already."""
        blocks = cls(tuple(ring.shape), np.dtype(ring.dtype), num_rows, {})
        for name, (start, stop) in blocks.ranges().items():
            if earlier is None or not (earlier / name).exists():
                blocks.copied[name] = _copy_rows(ring, start, stop)
        return blocks

    @property
    def rows_per_block(self) -> int:
        """R: rows that make a block of about 32 MiB."""
        row_bytes = self.dtype.itemsize * int(np.prod(self.shape)) // self.shape[1]
        return max(1, _BLOCK_BYTES // row_bytes)

    def ranges(self) -> dict[str, tuple[int, int]]:
        """File names and [start, stop) rows of the blocks that hold the ring's rows.

        A complete block is named by its number alone; a growing one, by its end too.
        """
        size, oldest = self.rows_per_block, max(0, self.num_rows - self.shape[1])
        ranges = {}
        for block in range(oldest // size, -(-self.num_rows // size)):
            stop = min((block + 1) * size, self.num_rows)
            suffix = "" if stop == (block + 1) * size else f"_{stop}"
            ranges[f"rows_{block:08d}{suffix}.zst"] = (max(block * size, oldest), stop)
        return ranges

    def write(
        self, directory: Path, earlier: Path | None, known: Mapping[str, list[int]]
    ) -> dict[str, list[int]]:
        """Writes the copied blocks and links the others from the snapshot `earlier`.

        Args:
          directory: of the new snapshot.
          earlier: the snapshot that has the blocks which were not copied.
          known: its manifest's files: name to size and checksum.

        Returns:
          The same for the new snapshot's blocks.
        """
        files = {}
        for name in self.ranges():
            if name in self.copied:
                _write_block(directory / name, self.copied.pop(name))
                files[name] = durable_files.describe(directory / name)
            else:
                assert earlier is not None
                _link(earlier / name, directory / name)
                files[name] = list(known[name])
        return files

    def read(self, directory: Path) -> np.ndarray:
        """Assembles the ring from a verified snapshot; rows that no block has stay 0."""
        ring = np.zeros(self.shape, self.dtype)
        oldest = max(0, self.num_rows - self.shape[1])
        for name, (_, stop) in self.ranges().items():
            rows = _read_block(directory / name, self.shape, self.dtype)
            numbers = np.arange(stop - rows.shape[1], stop)
            kept = numbers >= oldest
            ring[:, numbers[kept] % self.shape[1]] = rows[:, kept]
        return ring


def _link(source: Path, to: Path) -> None:
    """Makes a second name of a file; a copy where the file system has no such names."""
    try:
        os.link(source, to)
    except OSError:
        shutil.copyfile(source, to)
        durable_files.flush(to)


def _copy_rows(ring: Any, start: int, stop: int) -> np.ndarray:
    """Rows [start, stop) of the ring on the host; the range may wrap around its end."""
    capacity = ring.shape[1]
    first, last = start % capacity, (stop - 1) % capacity + 1
    if first < last:
        return np.array(ring[:, first:last])
    parts = (np.asarray(ring[:, first:]), np.asarray(ring[:, :last]))
    return np.concatenate(parts, axis=1)


def _write_block(path: Path, rows: np.ndarray) -> None:
    with path.open("wb") as stream:
        stream.write(zstandard.ZstdCompressor(level=1).compress(np.ascontiguousarray(rows).data))


def _read_block(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A block [K, r, N, ...]; r follows from the size."""
    data = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    return np.frombuffer(data, dtype).reshape((shape[0], -1, *shape[2:]))

"""Memory for the decoded steps of many chunks, from which a batch's are taken at once."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from replay.reverb.wire import codec, errors

# The row of zeros, which belongs to no chunk.
ZEROS = 0


class RowBuffers:
    """Decoded steps of one kind, one per row; a chunk is decoded once however often it is used.

    The memory is reused after a `clear`: what `step` returned is overwritten then.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, max_bytes: int):
        """Starts with the row of zeros.

        Args:
          name: of the steps, for errors.
          shape: of one step.
          dtype: of one step.
          max_bytes: of all rows together, between two calls of `clear`.
        """
        self._name, self._shape, self._dtype = name, shape, np.dtype(dtype)
        self._max_bytes = max_bytes
        self._row_bytes = math.prod(shape) * self._dtype.itemsize
        self._max_rows = max_bytes // self._row_bytes
        self._keep(np.zeros((1, self._row_bytes), np.uint8))
        self.clear()

    def clear(self) -> None:
        """Forgets all chunks."""
        self._num_rows = ZEROS + 1
        # Of each tensor, by its chunk's key and its index there.
        self._places: dict[tuple[int, int], range] = {}

    def find(self, key: int, column: Any, chunks: Mapping[int, Any], most: int) -> list[int]:
        """The rows of an item's column, in time order.

        Args:
          key: of the item.
          column: its Column message.
          chunks: the Chunk messages that came with it, by key.
          most: how many steps it may have.

        Raises:
          errors.WireError: it has more, or a chunk is of another kind, malformed or too large.
        """
        found = []
        for part in column.slices:
            place = part.chunk_key, part.index
            tensor, is_delta_encoded = codec.find_tensor(*place, chunks)
            rows = self._places.get(place)
            if rows is None:
                rows = self._places[place] = self._decode(key, tensor, is_delta_encoded)
            begin = part.offset
            end = codec.slice_end(begin, part.length, len(rows))
            if len(found) + part.length > most:
                raise errors.WireError(f"item {key} has more than {most} steps of {self._name}")
            found += rows[begin:end]
        if not found:
            raise errors.WireError(f"item {key} has no steps of {self._name}: expected some")
        return found

    def step(self, row: int) -> np.ndarray:
        """The step in a row, a view of the rows' memory."""
        return self._steps[row]

    def take(self, rows: np.ndarray | list[int], output: np.ndarray) -> None:
        """Copies rows to a contiguous array [..., *shape] of as many steps."""
        by_row = output.reshape(len(rows), -1).view(np.uint8)
        # Nothing is out of bounds, but without "clip" all would be copied once more.
        np.take(self._rows, rows, axis=0, out=by_row, mode="clip")

    def _decode(self, key: int, tensor: Any, is_delta_encoded: bool) -> range:
        """Decodes a tensor into free rows, and returns them."""
        dtype, shape = codec.tensor_kind(tensor)
        if not shape or shape[1:] != self._shape or dtype != self._dtype:
            raise errors.WireError(
                f"item {key} has {self._name} in chunks of {dtype} {shape}: expected "
                f"{self._dtype} [T, {', '.join(map(str, self._shape))}]"
            )
        begin, end = self._num_rows, self._num_rows + shape[0]
        if end > len(self._rows):
            self._grow(end)
        codec.decode_into(tensor, self._memory[begin * self._row_bytes : end * self._row_bytes])
        if is_delta_encoded:
            steps = self._steps[begin:end]
            steps[...] = codec.undo_deltas(steps)
        self._num_rows = end
        return range(begin, end)

    def _grow(self, num_rows: int) -> None:
        if num_rows > self._max_rows:
            raise errors.WireError(
                f"{self._name} in chunks of {num_rows * self._row_bytes} bytes together: expected "
                f"at most {self._max_bytes}"
            )
        grown = np.zeros((min(2 * num_rows, self._max_rows), self._row_bytes), np.uint8)
        grown[: self._num_rows] = self._rows[: self._num_rows]
        self._keep(grown)

    def _keep(self, rows: np.ndarray) -> None:
        self._rows, self._memory = rows, rows.reshape(-1).data
        self._steps = rows.view(self._dtype).reshape(-1, *self._shape)

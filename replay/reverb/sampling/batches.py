"""Batches built from sampled items.

Received data is not trusted: an item unlike those that replay/reverb/writing/trajectories.py
writes is a WireError.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from replay import base
from replay.reverb.sampling import rows
from replay.reverb.wire import codec, errors, sample_stream
from replay.reverb.writing import trajectories

# The smallest normal float32.
_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
# More than any item has; it bounds the memory for a malformed one.
_MAX_FRAMES = 1 << 16
_RECORD = ((trajectories.RECORD_SIZE,), np.float32)

# Allocates the memory of a batch's s_tm1 and s_t.
Allocate = Callable[[], tuple[np.ndarray, np.ndarray]]


class DrawnBatch(NamedTuple):
    """Transitions as they were drawn, on the host.

    Attributes:
      transition: replay.base.Transition of numpy arrays: s_tm1, s_t [B, S, ...], or [B, ...] where
        frames are not stacked; a_tm1 int32, r_t, discount_t float32 [B].
      keys: uint64 [B]; JAX would truncate them to 32 bits.
      probabilities: float32 [B], each transition's sampling probability.
      weights: float64 [B], the stored weights they were drawn by.
      table_size: items in the table when the newest was drawn.
    """

    transition: base.Transition
    keys: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray
    table_size: int


class _Drawn(NamedTuple):
    """What a batch needs from an item besides its frames."""

    key: int
    probability: float
    weight: float
    action: float
    r_t: float
    discount_t: float


class BatchSpec(NamedTuple):
    """What is in a batch.

    Attributes:
      batch_size: B.
      frame_stack: S; 0 for vectors, left as they are.
      shape, dtype: of one environment's newest observation.
    """

    batch_size: int
    frame_stack: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def stacks(self) -> tuple[int, ...]:
        """The shape of s_tm1 and s_t, [B, S, ...] or [B, ...]."""
        stack = (self.frame_stack,) if self.frame_stack else ()
        return (self.batch_size, *stack, *self.shape)

    @classmethod
    def from_json(cls, text: str) -> "BatchSpec":
        """The spec that json.dumps encoded."""
        batch_size, frame_stack, shape, dtype = json.loads(text)
        return cls(batch_size, frame_stack, tuple(shape), dtype)


class BatchDecoder:
    """Batches from the messages of a sample stream, items in the order they were drawn.

    Frames are decompressed side by side and copied to their stacks by two calls per batch: Python
    work for each item costs more than the frames themselves.
    """

    def __init__(
        self,
        spec: BatchSpec,
        allocate: Allocate | None = None,
        max_bytes: int = codec.DEFAULT_MAX_BYTES,
    ):
        """Starts an empty batch.

        Args:
          spec: of the batches.
          allocate: called when a batch is complete; None: new arrays.
          max_bytes: how large the frames of a batch's chunks may be together.
        """
        self._spec = spec
        self._allocate = allocate or self._new_stacks
        self._history = max(spec.frame_stack, 1)
        self._framing = sample_stream.Framing()
        self._frames = rows.RowBuffers("frames", spec.shape, spec.dtype, max_bytes)
        self._records = rows.RowBuffers("a record", *_RECORD, max_bytes)
        self._begin()

    def feed(self, response: Any) -> Iterator[DrawnBatch]:
        """The batches that this SampleResponse completes.

        Raises:
          errors.WireError: it is malformed, or an item is not a transition of that kind.
        """
        for info, chunks in self._framing.complete(response):
            self._add(info, chunks)
            if len(self._drawn) == self._spec.batch_size:
                yield self._batch(info.table_size)
                self._begin()

    def _begin(self) -> None:
        self._frames.clear()
        self._records.clear()
        self._drawn: list[_Drawn] = []
        # The rows of the frames of all s_tm1 and s_t, one stack after the other.
        self._before: list[int] = []
        self._after: list[int] = []

    def _add(self, info: Any, chunks: Mapping[int, Any]) -> None:
        item = info.item
        key, columns = item.key, item.trajectory.columns
        if len(columns) != trajectories.NUM_COLUMNS:
            raise _wrong(key, f"{len(columns)} columns", "frames and a record")
        frames, record = columns
        if frames.squeeze or not record.squeeze:
            raise _wrong(key, "other columns", "frames [T, ...] and a record without T")
        (row,) = self._records.find(key, record, chunks, 1)
        action, r_t, discount_t, num_steps = values = self._records.step(row).tolist()
        _check_record(key, values)
        self._stack(key, self._frames.find(key, frames, chunks, _MAX_FRAMES), int(num_steps))
        drawn = _Drawn(key, info.probability, item.priority, action, r_t, discount_t)
        _check_drawn(drawn)
        self._drawn.append(drawn)

    def _stack(self, key: int, frames: list[int], num_steps: int) -> None:
        """Notes the rows of an item's two stacks, with zeros before its first frame."""
        least, most = num_steps + 1, num_steps + self._history
        if not least <= len(frames) <= most:
            found = f"{len(frames)} frames for {num_steps} steps"
            raise _wrong(key, found, f"{least} to {most}")
        padded = [rows.ZEROS] * (most - len(frames)) + frames
        self._before += padded[: self._history]
        self._after += padded[num_steps:]

    def _batch(self, table_size: int) -> DrawnBatch:
        s_tm1, s_t = self._allocate()
        self._frames.take(self._before, s_tm1)
        self._frames.take(self._after, s_t)
        keys, probabilities, weights, actions, r_t, discount_t = zip(*self._drawn)
        arrays: Any = (
            s_tm1,
            np.array(actions, np.int32),
            np.array(r_t, np.float32),
            np.array(discount_t, np.float32),
            s_t,
        )
        return DrawnBatch(
            transition=base.Transition(*arrays),
            keys=np.array(keys, np.uint64),
            probabilities=np.array(probabilities, np.float32),
            weights=np.array(weights, np.float64),
            table_size=table_size,
        )

    def _new_stacks(self) -> tuple[np.ndarray, np.ndarray]:
        shape, dtype = self._spec.stacks, self._spec.dtype
        return np.empty(shape, dtype), np.empty(shape, dtype)


def _check_record(key: int, record: list[float]) -> None:
    action, r_t, discount_t, num_steps = record
    is_action = action.is_integer() and 0 <= action <= trajectories.MAX_ACTION
    is_whole = num_steps.is_integer() and num_steps >= 1
    if not (is_action and is_whole and math.isfinite(r_t) and math.isfinite(discount_t)):
        raise _wrong(key, f"record {record}", "an action, two finite numbers, and 1 step or more")


def _check_drawn(drawn: _Drawn) -> None:
    if drawn.probability < _LEAST_PROBABILITY:
        raise _wrong(drawn.key, f"probability {drawn.probability}", f"{_LEAST_PROBABILITY} or more")
    if not 0 <= drawn.weight < math.inf:
        raise _wrong(drawn.key, f"priority {drawn.weight}", "a finite number >= 0")


def _wrong(key: int, found: str, expected: str) -> errors.WireError:
    return errors.WireError(f"item {key} has {found}: expected {expected}")

"""Batches out of sampled items.

Nothing that is received is trusted: an item that is not as replay/reverb/trajectories.py writes
them is a WireError.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from replay import base
from replay.reverb import rows, trajectories
from replay.wire import codec, errors, sample_stream

_RECORD = ((trajectories.RECORD_SIZE,), np.float32)


class Batch(NamedTuple):
    """Transitions as they were drawn, on the host.

    Attributes:
      transition: replay.base.Transition of numpy arrays: s_tm1, s_t [B, S, ...], or [B, ...] where
        frames are not stacked; a_tm1 int32, r_t, discount_t float32 [B].
      keys: uint64 [B]; JAX would cut them to 32 bits.
      probabilities: float32 [B], with which each was drawn.
      weights: float64 [B], the stored weights they were drawn by.
      table_size: items of the table when the newest was drawn.
    """

    transition: base.Transition
    keys: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray
    table_size: int


class BatchSpec(NamedTuple):
    """What is in a batch.

    Attributes:
      batch_size: B.
      frame_stack: S; 0 for vectors, left as they are.
      shape, dtype: of one lane's newest observation.
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
        """What json.dumps made of one."""
        batch_size, frame_stack, shape, dtype = json.loads(text)
        return cls(batch_size, frame_stack, tuple(shape), dtype)


def join(shares: Sequence[Batch]) -> Batch:
    """One batch of several, in memory of its own."""
    arrays: Any = map(np.concatenate, zip(*[share.transition for share in shares]))
    return Batch(
        transition=base.Transition(*arrays),
        keys=np.concatenate([share.keys for share in shares]),
        probabilities=np.concatenate([share.probabilities for share in shares]),
        weights=np.concatenate([share.weights for share in shares]),
        table_size=shares[-1].table_size,
    )


class BatchDecoder:
    """Batches out of the messages of a sample stream, items in the order they were drawn.

    What is done in Python for each item costs more than to decompress its frames: it is no more
    than to find its chunks. Checks, stacks and copies are made for a batch at once.
    """

    def __init__(
        self,
        spec: BatchSpec,
        allocate: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None,
        max_bytes: int = codec.DEFAULT_MAX_BYTES,
    ):
        """Starts an empty batch.

        Args:
          spec: of the batches.
          allocate: gives the memory of the next batch's s_tm1 and s_t; None: new arrays.
          max_bytes: how large the frames of a batch's chunks may be together.
        """
        self.spec = spec
        self._allocate = allocate or self._new_stacks
        self._history = max(spec.frame_stack, 1)
        self._framing = sample_stream.Framing()
        self._frames = rows.Rows("frames", spec.shape, spec.dtype, max_bytes)
        self._records = rows.Rows("a record", *_RECORD, max_bytes)
        self._begin()

    def feed(self, response: Any) -> Iterator[Batch]:
        """The batches that are complete with this SampleResponse.

        Raises:
          errors.WireError: it makes no sense, or an item is no transition of that kind.
        """
        for info, chunks in self._framing.complete(response):
            self._add(info, chunks)
            if len(self._drawn) == self.spec.batch_size:
                yield self._batch(info.table_size)
                self._begin()

    def _begin(self) -> None:
        self._frames.clear()
        self._records.clear()
        # Key, probability and weight of each item; where its record is, and all its frames are.
        self._drawn: list[tuple[int, float, float]] = []
        self._record_rows: list[int] = []
        self._frame_rows: list[int] = []
        self._num_frames: list[int] = []

    def _add(self, info: Any, chunks: Mapping[int, Any]) -> None:
        item = info.item
        columns = item.trajectory.columns
        if len(columns) != trajectories.NUM_COLUMNS:
            raise _wrong(item.key, f"{len(columns)} columns", "frames and a record")
        frames = self._frames.find(item.key, columns[0], chunks)
        records = self._records.find(item.key, columns[1], chunks)
        if columns[0].squeeze or not columns[1].squeeze or len(records) != 1:
            raise _wrong(item.key, "other columns", "frames [T, ...] and a record without T")
        self._frame_rows += frames
        self._num_frames.append(len(frames))
        self._record_rows += records
        self._drawn.append((item.key, info.probability, item.priority))

    def _batch(self, table_size: int) -> Batch:
        keys, probabilities, weights = zip(*self._drawn)
        keys = np.array(keys, np.uint64)
        records = np.empty((self.spec.batch_size, trajectories.RECORD_SIZE), np.float32)
        self._records.take(self._record_rows, records)
        _check_records(keys, records)
        s_tm1, s_t = self._allocate()
        for stack, output in zip(self._stacks(keys, records[:, 3]), (s_tm1, s_t)):
            self._frames.take(stack.reshape(-1), output)
        arrays: Any = (s_tm1, records[:, 0].astype(np.int32), *records.T[1:3].copy(), s_t)
        return Batch(
            transition=base.Transition(*arrays),
            keys=keys,
            probabilities=_probabilities(keys, probabilities),
            weights=_weights(keys, weights),
            table_size=table_size,
        )

    def _new_stacks(self) -> tuple[np.ndarray, np.ndarray]:
        shape, dtype = self.spec.stacks, self.spec.dtype
        return np.empty(shape, dtype), np.empty(shape, dtype)

    def _stacks(self, keys: np.ndarray, num_steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the frames of s_tm1 and of s_t, each [B, S], with zeros before the first."""
        num_frames = np.array(self._num_frames)
        most = num_steps + self._history
        is_right = (num_steps < num_frames) & (num_frames <= most)
        if not is_right.all():
            i = int(np.argmin(is_right))
            found = f"{num_frames[i]} frames for {num_steps[i]:g} steps"
            raise _wrong(keys[i], found, f"{num_steps[i] + 1:g} to {most[i]:g}")
        all_rows, ends = np.array(self._frame_rows), np.cumsum(num_frames)
        begins = (ends - num_frames)[:, np.newaxis]
        newest = ends[:, np.newaxis] + np.arange(-self._history, 0)
        stacks = newest - num_steps.astype(np.int64)[:, np.newaxis], newest
        before, after = (
            np.where(stack < begins, rows.ZEROS, all_rows[np.maximum(stack, 0)]) for stack in stacks
        )
        return before, after


def _check_records(keys: np.ndarray, records: np.ndarray) -> None:
    """Takes actions, returns, discounts and numbers of steps, float32 [B, 4]."""
    is_action = (records[:, 0] >= 0) & (records[:, 0] <= trajectories.MAX_ACTION)
    is_whole = (records[:, [0, 3]] == np.floor(records[:, [0, 3]])).all(axis=1)
    is_right = is_action & is_whole & (records[:, 3] >= 1) & np.isfinite(records).all(axis=1)
    if not is_right.all():
        i = int(np.argmin(is_right))
        found = f"record {records[i].tolist()}"
        raise _wrong(keys[i], found, "an action, two finite numbers, and 1 step or more")


def _probabilities(keys: np.ndarray, values: Sequence[float]) -> np.ndarray:
    probabilities = np.array(values, np.float32)
    if not (probabilities > 0).all():
        i = int(np.argmin(probabilities > 0))
        raise _wrong(keys[i], f"probability {probabilities[i]}", "more than 0")
    return probabilities


def _weights(keys: np.ndarray, values: Sequence[float]) -> np.ndarray:
    weights = np.array(values, np.float64)
    is_right = np.isfinite(weights) & (weights >= 0)
    if not is_right.all():
        i = int(np.argmin(is_right))
        raise _wrong(keys[i], f"priority {weights[i]}", "a finite number >= 0")
    return weights


def _wrong(key: int, found: str, expected: str) -> errors.WireError:
    return errors.WireError(f"item {key} has {found}: expected {expected}")

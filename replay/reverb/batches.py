"""Batches out of sampled items, put together ahead of the learner's need.

Nothing that is received is trusted: an item that is not as replay/reverb/trajectories.py writes
them is a WireError.
"""

import collections
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from dm_env import specs

from replay import base
from replay.reverb import trajectories
from replay.wire import client as client_lib
from replay.wire import errors
from replay.wire import sampler as sampler_lib


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


def assemble(samples: Sequence[sampler_lib.Sampled], frame_stack: int, spec: specs.Array) -> Batch:
    """Puts items of one table into a batch.

    Args:
      samples: B of them, in the order they were drawn.
      frame_stack: S; 0 for vectors, left as they are.
      spec: one lane's newest observation.

    Raises:
      WireError: an item is not a transition of that kind.
    """
    records = _records(samples)
    size = max(frame_stack, 1)
    s_tm1, s_t = (np.empty((len(samples), size, *spec.shape), spec.dtype) for _ in range(2))
    for i, (sample, k) in enumerate(zip(samples, records[:, 3].tolist())):
        frames = sample.parts[0]
        num_frames = _count_frames(sample, k, size, spec)
        _stack(frames.arrays, num_frames - int(k), s_tm1[i])
        _stack(frames.arrays, num_frames, s_t[i])
    if not frame_stack:
        s_tm1, s_t = s_tm1[:, 0], s_t[:, 0]
    actions = records[:, 0].astype(np.int32)
    arrays: Any = (s_tm1, actions, records[:, 1], records[:, 2], s_t)
    return Batch(
        transition=base.Transition(*arrays),
        keys=np.array([sample.key for sample in samples], np.uint64),
        probabilities=_probabilities(samples),
        weights=_weights(samples),
        table_size=samples[-1].table_size,
    )


def _stack(arrays: Sequence[np.ndarray], end: int, output: np.ndarray) -> None:
    """Makes the stack [S, ...] of the frames before the `end`-th; zeros before the first."""
    begin = end - len(output)
    if begin < 0:
        output[:-begin] = 0
    first = 0
    for array in arrays:
        last = first + len(array)
        if last > begin and first < end:
            # By comparisons: this is done for every part of every item.
            low = begin if begin > first else first
            high = end if end < last else last
            output[low - begin : high - begin] = array[low - first : high - first]
        first = last


def _records(samples: Sequence[sampler_lib.Sampled]) -> np.ndarray:
    """The records float32 [B, 4]: actions, returns, discounts, numbers of steps."""
    found = []
    for sample in samples:
        if len(sample.parts) != trajectories.NUM_COLUMNS:
            raise _wrong(sample, f"{len(sample.parts)} columns", "frames and a record")
        record = sample.parts[1].join()
        if record.shape != (trajectories.RECORD_SIZE,) or record.dtype != np.float32:
            raise _wrong(sample, f"record {_kind(record)}", "float32 (4,)")
        found.append(record)
    records = np.stack(found)
    is_action = (records[:, 0] >= 0) & (records[:, 0] <= trajectories.MAX_ACTION)
    is_whole = (records[:, [0, 3]] == np.floor(records[:, [0, 3]])).all(axis=1)
    is_right = is_action & is_whole & (records[:, 3] >= 1) & np.isfinite(records).all(axis=1)
    if not is_right.all():
        i = int(np.argmin(is_right))
        raise _wrong(
            samples[i],
            f"record {records[i].tolist()}",
            "an action, two finite numbers, and 1 step or more",
        )
    return records


def _count_frames(
    sample: sampler_lib.Sampled, num_steps: float, size: int, spec: specs.Array
) -> int:
    """Checks an item's frames for a transition of so many steps and stacks of `size`."""
    arrays, squeeze = sample.parts[0]
    newest = arrays[-1]
    if newest.dtype != spec.dtype or newest.shape[1:] != spec.shape or squeeze:
        found = sample.parts[0].join()
        raise _wrong(sample, f"frames {_kind(found)}", f"{spec.dtype} of shapes {spec.shape}")
    num_frames = sum(map(len, arrays))
    if not num_steps + 1 <= num_frames <= num_steps + size:
        raise _wrong(
            sample,
            f"{num_frames} frames for {num_steps:g} steps",
            f"{num_steps + 1:g} to {num_steps + size:g}",
        )
    return num_frames


def _probabilities(samples: Sequence[sampler_lib.Sampled]) -> np.ndarray:
    probabilities = np.array([sample.probability for sample in samples], np.float32)
    if not (probabilities > 0).all():
        i = int(np.argmin(probabilities > 0))
        raise _wrong(samples[i], f"probability {probabilities[i]}", "more than 0")
    return probabilities


def _weights(samples: Sequence[sampler_lib.Sampled]) -> np.ndarray:
    weights = np.array([sample.priority for sample in samples], np.float64)
    is_right = np.isfinite(weights) & (weights >= 0)
    if not is_right.all():
        i = int(np.argmin(is_right))
        raise _wrong(samples[i], f"priority {weights[i]}", "a finite number >= 0")
    return weights


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"


def _wrong(sample: sampler_lib.Sampled, found: str, expected: str) -> errors.WireError:
    return errors.WireError(f"item {sample.key} has {found}: expected {expected}")


class BatchReader:
    """Draws and assembles batches ahead, in threads of its own; `take` is for one thread.

    More is asked for only when a batch is taken, so that never more than `max_in_flight` samples
    are drawn by priorities that later updates may have changed, or counted by the server's rate
    limiter without having been used.
    """

    def __init__(
        self,
        client: client_lib.Client,
        table: str,
        spec: specs.Array,
        frame_stack: int,
        batch_size: int,
        prefetch_batches: int = 2,
        num_streams: int = 1,
    ):
        """Asks for the first batches.

        Args:
          client: of the server.
          table: its name.
          spec: one lane's newest observation.
          frame_stack: S; 0 for vectors, left as they are.
          batch_size: transitions of a batch.
          prefetch_batches: how many batches are asked for ahead, over all streams.
          num_streams: of the server, each with its thread; at most `prefetch_batches`.
        """
        if not 1 <= num_streams <= prefetch_batches:
            raise ValueError(f"num_streams = {num_streams}: expected 1 to {prefetch_batches}")
        self._doing = f"reading batches from {table!r} at {client.address}"
        self._batch_size = batch_size
        self._max_in_flight = prefetch_batches * batch_size
        self._ready: collections.deque[tuple[Batch, _BatchStream]] = collections.deque()
        self._error: errors.WireError | None = None
        # Guards what the streams' threads change: the ready batches and the error.
        self._changed = threading.Condition()
        shares = [len(range(i, prefetch_batches, num_streams)) for i in range(num_streams)]
        assemble_one = functools.partial(assemble, frame_stack=frame_stack, spec=spec)
        self._streams = [
            _BatchStream(client, table, share, batch_size, assemble_one, self._keep, self._end)
            for share in shares
        ]

    def __enter__(self) -> "BatchReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def max_in_flight(self) -> int:
        """The staleness bound: samples drawn, or asked for, that `take` has not returned."""
        return self._max_in_flight

    @property
    def num_ready(self) -> int:
        """Batches that can be taken without waiting."""
        return len(self._ready)

    def take(self, timeout_s: float = 60.0) -> Batch:
        """The next batch; asks for another.

        Args:
          timeout_s: how long to wait for it, in seconds.

        Raises:
          errors.WireTimeoutError: it did not come in time.
          errors.WireError: a stream is broken, and the batches that had come are taken: make
            another reader.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._error, timeout_s)
            if not self._ready:
                raise self._error or self._late(timeout_s)
            batch, stream = self._ready.popleft()
        stream.ask(self._batch_size)
        return batch

    def close(self) -> None:
        """Ends the streams; batches not taken are lost, though counted."""
        for stream in self._streams:
            stream.close()

    def _late(self, timeout_s: float) -> errors.WireTimeoutError:
        return errors.WireTimeoutError(
            f"{self._doing}: none after {timeout_s:g} s: the table has too few items, its rate "
            "limiter waits for inserts, or the server does not answer"
        )

    def _keep(self, batch: Batch, stream: "_BatchStream") -> None:
        with self._changed:
            self._ready.append((batch, stream))
            self._changed.notify_all()

    def _end(self, error: errors.WireError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()


class _BatchStream(sampler_lib.SampleStream):
    """One stream's samples, assembled where they are decoded.

    Not in another thread: the two would take turns at Python's lock for every chunk.
    """

    def __init__(
        self,
        client: client_lib.Client,
        table: str,
        num_batches: int,
        batch_size: int,
        assemble_one: Callable[[list[sampler_lib.Sampled]], Batch],
        on_batch: Callable[[Batch, "_BatchStream"], None],
        on_end: Callable[[errors.WireError], None],
    ):
        self._batch_size = batch_size
        self._assemble, self._on_batch = assemble_one, on_batch
        self._samples: list[sampler_lib.Sampled] = []
        super().__init__(client, table, num_batches * batch_size, self._collect, on_end)

    def _collect(self, samples: list[sampler_lib.Sampled]) -> None:
        self._samples += samples
        while len(self._samples) >= self._batch_size:
            batch = self._assemble(self._samples[: self._batch_size])
            del self._samples[: self._batch_size]
            self._on_batch(batch, self)

"""Cuts an environment's steps into chunks of frames, and n-step transitions that refer to them.

An item has two columns: the frames from max(start of the episode, t - S + 1) to t + k, where
S = max(frame_stack, 1) and k <= n steps lead to s_t, and a float32 [4] record: action, n-step
return, product of the discounts, k. Each frame is encoded once, however many items have it.
The transitions are those of replay/device/frame_ring.py.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from replay import base
from replay.reverb.wire import wire_writer

NUM_COLUMNS = 2
RECORD_SIZE = 4
# A record's actions are float32, which represents all integers up to this one.
MAX_ACTION = 2**24


class ChunkWriter(Protocol):
    """What encodes chunks: replay.reverb.wire.wire_writer.Writer, or one that keeps a journal."""

    def chunk(self, array: np.ndarray) -> wire_writer.Chunk:
        """Encodes T steps of one column, [T, ...]; the array may change afterwards."""
        ...

    def release(self, chunk: wire_writer.Chunk) -> None:
        """Says that no later item refers to the chunk."""
        ...


class _Part(NamedTuple):
    """An environment's frames of the rows [begin, end)."""

    begin: int
    end: int
    chunk: wire_writer.Chunk


class TrajectoryBuilder:
    """The transitions of N environments, as items of one table; for one thread.

    A row is one step of every environment; rows are counted from the builder's first.
    """

    def __init__(
        self,
        writer: ChunkWriter,
        table: str,
        num_envs: int,
        frame_stack: int,
        n_step: int,
        discount: float,
        chunk_length: int,
    ):
        """Starts without steps.

        Args:
          writer: encodes the chunks; the caller inserts the items.
          table: of the items.
          num_envs: N.
          frame_stack: frames per observation given to the agent; 0 for vectors, left as they are.
          n_step: n of the returns.
          discount: gamma, applied at every step.
          chunk_length: frames of a chunk; the last of an episode may be shorter. A transition is
            complete when the chunk with its last frame is: up to chunk_length - 1 steps later.
        """
        self._writer = writer
        self._table = table
        self._num_envs = num_envs
        self._history = max(frame_stack, 1) - 1
        self._n_step = n_step
        self._discount = np.float32(discount)
        self._chunk_length = chunk_length
        self._rows = 0
        # Of each environment: whether an episode is under way, its first row, the row of the next
        # transition to emit, and the first row of the chunk being filled.
        self._is_open = np.zeros(num_envs, bool)
        self._episode_begin = np.zeros(num_envs, np.int64)
        self._next = np.zeros(num_envs, np.int64)
        self._filling = np.zeros(num_envs, np.int64)
        self._env_ids = np.arange(num_envs)
        self._parts: list[collections.deque[_Part]] = [collections.deque() for _ in range(num_envs)]
        self._frames = np.empty((num_envs, chunk_length, 0), np.uint8)
        # Rings over rows [D, N]: no environment has more than n + chunk_length waiting rows.
        shape = (n_step + chunk_length, num_envs)
        self._actions = np.zeros(shape, np.int32)
        self._returns = np.zeros(shape, np.float32)
        self._discounts = np.zeros(shape, np.float32)

    def add(self, step: base.Step, priority: float) -> list[wire_writer.NewItem]:
        """Adds one step of every environment.

        Args:
          step: numpy arrays [N, ...]. A LAST outside an episode is one without steps: a task was
            left on the step with which the episode would have begun.
          priority: the stored weight of the items that this step completes.

        Returns:
          The items that are complete now; to be inserted in this order.

        Raises:
          ValueError: the step has another shape, or does not follow the one before: FIRST within
            an episode, or another step outside one; nothing was changed.
        """
        is_first, is_last = np.asarray(step.is_first, bool), np.asarray(step.is_last, bool)
        is_first = is_first | (is_last & ~self._is_open)
        self._check(step, is_first)
        if not self._rows:
            self._frames = self._empty_frames(np.asarray(step.observation))
        if is_first.any():
            self._begin_episodes(np.flatnonzero(is_first))
        self._record(step)
        self._rows += 1
        self._is_open = ~is_last
        is_full = self._rows - self._filling == self._chunk_length
        return self._close(np.flatnonzero(is_full | is_last), is_last, priority)

    def cut(self, priority: float) -> list[wire_writer.NewItem]:
        """Ends the environments' episodes at their newest step, as a truncation would.

        Args:
          priority: the stored weight of the waiting transitions.

        Returns:
          Their items.
        """
        ended = self._is_open
        self._is_open = np.zeros_like(ended)
        return self._close(np.flatnonzero(ended), ended, priority)

    def clear(self) -> None:
        """Forgets the waiting transitions: none is emitted for steps added so far.

        Running episodes go on, with their frames.
        """
        self._next[:] = self._rows

    def _check(self, step: base.Step, is_first: np.ndarray) -> None:
        observation, frames = step.observation, self._frames
        for name, field in zip(step._fields, step):
            is_right = field is observation or field.ndim == 1
            if not is_right or field.shape[:1] != (self._num_envs,):
                raise ValueError(f"{name} {field.shape}: expected {self._num_envs} environments")
        is_same = observation.dtype == frames.dtype and observation.shape[1:] == frames.shape[2:]
        if self._rows and not is_same:
            raise ValueError(
                f"observation {observation.dtype} {observation.shape}: expected "
                f"{frames.dtype} {(self._num_envs, *frames.shape[2:])}"
            )
        # After a clear nothing waits, so an episode may be abandoned.
        is_waiting = self._is_open & (self._next < self._rows)
        wrong = np.flatnonzero(np.where(is_first, is_waiting, ~self._is_open))
        if wrong.size:
            kind = "FIRST within an episode" if is_first[wrong[0]] else "no FIRST after a LAST"
            raise ValueError(f"step of environment {wrong[0]}: {kind}")

    def _empty_frames(self, observation: np.ndarray) -> np.ndarray:
        shape = (self._num_envs, self._chunk_length, *observation.shape[1:])
        return np.zeros(shape, observation.dtype)

    def _begin_episodes(self, env_ids: np.ndarray) -> None:
        for env_id in env_ids:
            self._release(env_id, self._rows)
        for rows in (self._episode_begin, self._next, self._filling):
            rows[env_ids] = self._rows

    def _record(self, step: base.Step) -> None:
        """Writes the row; adds its rewards to the returns of the n rows before it.

        A FIRST's reward reaches only rows of the previous episode, which were already emitted.
        """
        row, depth = self._rows, len(self._returns)
        self._frames[self._env_ids, row - self._filling] = step.observation
        before = np.arange(row - self._n_step, row) % depth
        discounts = self._discounts[before]
        self._returns[before] += discounts * step.reward
        self._discounts[before] = discounts * (self._discount * np.asarray(step.discount))
        self._actions[row % depth] = step.action
        self._returns[row % depth] = 0
        self._discounts[row % depth] = 1

    def _close(
        self, env_ids: np.ndarray, is_last: np.ndarray, priority: float
    ) -> list[wire_writer.NewItem]:
        """Closes the environments' chunks; returns the items that were waiting for that.

        Args:
          env_ids: int [M].
          is_last: bool [N], where the episode has ended.
          priority: of the items.
        """
        if not env_ids.size:
            return []
        newest = self._rows - 1
        ready = []
        for env_id in env_ids.tolist():
            end = newest if is_last[env_id] else newest - self._n_step + 1
            begin = min(int(self._next[env_id]), end)
            ready.append((env_id, begin, end))
            if begin < end or not is_last[env_id]:
                self._encode_frames(env_id)
        items = self._items(ready, priority)
        for env_id, _, end in ready:
            follows = max(int(self._next[env_id]), end)
            self._next[env_id], self._filling[env_id] = follows, self._rows
            self._release(
                env_id, self._rows if is_last[env_id] else self._first_frame(env_id, follows)
            )
        return items

    def _encode_frames(self, env_id: int) -> None:
        begin = int(self._filling[env_id])
        if begin == self._rows:  # closed with the newest step already
            return
        chunk = self._writer.chunk(self._frames[env_id, : self._rows - begin])
        self._parts[env_id].append(_Part(begin, self._rows, chunk))

    def _first_frame(self, env_id: int, row: int) -> int:
        """The oldest frame of the stack at a row."""
        return max(int(self._episode_begin[env_id]), row - self._history)

    def _release(self, env_id: int, row: int) -> None:
        """Releases the environment's frames before a row."""
        parts = self._parts[env_id]
        while parts and parts[0].end <= row:
            self._writer.release(parts.popleft().chunk)

    def _items(
        self, ready: Sequence[tuple[int, int, int]], priority: float
    ) -> list[wire_writer.NewItem]:
        """Items of the transitions that begin in the rows of `ready`: (env_id, begin, end)."""
        starts = [(env_id, row) for env_id, begin, end in ready for row in range(begin, end)]
        if not starts:
            return []
        env_ids, rows = np.array(starts).T
        num_steps = np.minimum(self._n_step, self._rows - 1 - rows)
        records = self._writer.chunk(self._records(env_ids, rows, num_steps))
        self._writer.release(records)
        items = []
        for i, ((env_id, row), k) in enumerate(zip(starts, num_steps.tolist())):
            frames = self._slices(env_id, self._first_frame(env_id, row), row + k + 1)
            record = wire_writer.Column((wire_writer.Slice(records, i, 1),), squeeze=True)
            columns = (wire_writer.Column(frames), record)
            items.append(wire_writer.NewItem(self._table, columns, priority))
        return items

    def _records(self, env_ids: np.ndarray, rows: np.ndarray, num_steps: np.ndarray) -> np.ndarray:
        """The records [M, 4] of transitions by env_id, first row and number of steps, each [M]."""
        slots = rows % len(self._returns)
        rings = (self._actions, self._returns, self._discounts)
        records = np.empty((len(rows), RECORD_SIZE), np.float32)
        for i, ring in enumerate(rings):
            records[:, i] = ring[slots, env_ids]
        records[:, 3] = num_steps
        return records

    def _slices(self, env_id: int, begin: int, end: int) -> list[wire_writer.Slice]:
        """The environment's frames of the rows [begin, end)."""
        slices = []
        for part in self._parts[env_id]:
            low, high = max(begin, part.begin), min(end, part.end)
            if low < high:
                slices.append(wire_writer.Slice(part.chunk, low - part.begin, high - low))
        return slices

"""The replay contract (replay/base.py) over a replay server, for one process that adds and samples.

What actors and learner do between them in a distributed run, in one place and in lock step. The
transitions are on the server, so that a state is only a token: there is one replay, and the newest
`init` owns it.
"""

import itertools
from typing import Any

import numpy as np
from dm_env import specs

from replay import base
from replay.reverb.sampling import batch_reader, priorities
from replay.reverb.wire import wire_client, wire_writer
from replay.reverb.writing import trajectories

State = Any
_MAX_PENDING = 256


class ReverbReplay:
    """Prioritized replay in one table of a server, whose priority_exponent is 1; for one thread.

    Every method may raise errors.WireError; the replay is then to be begun anew.
    """

    def __init__(
        self,
        client: wire_client.Client,
        table: str,
        observation_spec: specs.Array,
        num_envs: int,
        capacity: int,
        frame_stack: int,
        n_step: int,
        discount: float,
        priority_exponent: float,
        uniform_mix: float,
        chunk_length: int = 1,
    ):
        """Does not touch the table before `init`.

        Args:
          client: of the server.
          table: its name; nobody else may write to it.
          observation_spec: one environment's newest observation.
          num_envs: N.
          capacity: the table's max_size.
          frame_stack: S, frames per observation given to the agent; 0 for vectors.
          n_step: n of the returns.
          discount: gamma, applied at every step.
          priority_exponent: the probability is proportional to priority**exponent.
          uniform_mix: share of uniform sampling.
          chunk_length: frames of a chunk; with more than 1, transitions become available up to
            chunk_length - 1 steps later than in the ring.
        """
        self._client, self._table, self._capacity = client, table, capacity
        self._spec, self._frame_stack = observation_spec, frame_stack
        self._builder_settings = {
            "table": table,
            "num_envs": num_envs,
            "frame_stack": frame_stack,
            "n_step": n_step,
            "discount": discount,
            "chunk_length": chunk_length,
        }
        self._num_envs = num_envs
        self._weights = priorities.SamplingWeights(priority_exponent, uniform_mix)
        self._writer: wire_writer.Writer | None = None
        self._rows = 0
        # The stored weights of what the table holds, by key, the oldest first.
        self._stored: dict[int, float] = {}
        self._tokens = itertools.count()
        self._token = -1

    def init(self) -> State:
        """An empty replay; states of before are no longer valid."""
        self.close()
        self._client.reset(self._table)
        self._writer = wire_writer.Writer(self._client, _MAX_PENDING)
        self._builder = trajectories.TrajectoryBuilder(self._writer, **self._builder_settings)
        self._weights.reset()
        self._rows, self._stored, self._token = 0, {}, next(self._tokens)
        return self._token

    def close(self) -> None:
        """Ends the stream into the table; `init` opens it again."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def add(self, state: State, step: base.Step) -> State:
        """Appends one step of every environment; transitions become available n steps later."""
        self._check(state)
        arrays: Any = [np.asarray(field) for field in step]
        self._insert(self._builder.add(base.Step(*arrays), self._weights.of_new()))
        self._rows += 1
        return state

    def num_added(self, state: State) -> np.int32:
        """Steps ever added, over all environments, int32 []."""
        self._check(state)
        return np.int32(self._rows * self._num_envs)

    def size(self, state: State) -> np.int32:
        """How many transitions can be sampled, int32 []."""
        self._writer_of(state).flush()
        return np.int32(self._client.server_info()[self._table].size)

    def sample(self, state: State, rng: Any, batch_size: int) -> base.Sample:
        """Draws transitions; the table must hold at least one.

        Args:
          state: of the replay.
          rng: ignored; the server draws by random numbers of its own.
          batch_size: B.

        Returns:
          Numpy arrays; the keys are uint64 [B].
        """
        self._writer_of(state).flush()
        with batch_reader.BatchReader(
            self._client, self._table, self._spec, self._frame_stack, batch_size, prefetch_batches=1
        ) as reader:
            batch = reader.take(ask_more=False)
        self._weights.observe(batch)
        arrays: Any = (batch.keys, batch.probabilities, np.int32(batch.table_size))
        return base.Sample(batch.transition, *arrays)

    def update_priorities(self, state: State, keys: Any, priorities: Any) -> State:
        """Sets priorities [B] >= 0; keys of transitions that are gone are ignored."""
        self._writer_of(state).flush()
        keys, priorities = np.asarray(keys, np.uint64), np.asarray(priorities)
        is_live = np.array([key in self._stored for key in keys.tolist()], bool)
        keys = keys[is_live]
        old_weights = np.array([self._stored[key] for key in keys.tolist()])
        stored = self._weights.update(keys, old_weights, priorities[is_live]).tolist()
        self._client.update_priorities(self._table, keys.tolist(), stored)
        self._stored.update(zip(keys.tolist(), stored))
        return state

    def cut(self, state: State) -> State:
        """Ends the environments' episodes at their newest step, as a truncation would."""
        self._check(state)
        self._insert(self._builder.cut(self._weights.of_new()))
        return state

    def clear(self, state: State) -> State:
        """Forgets all transitions and priorities; steps are counted on, and keys are random."""
        self._writer_of(state).flush()
        self._client.reset(self._table)
        self._builder.clear()
        self._weights.reset()
        self._stored.clear()
        return state

    def _insert(self, items: list[wire_writer.NewItem]) -> None:
        writer = self._writer_of(self._token)
        for begin in range(0, len(items), _MAX_PENDING):
            part = items[begin : begin + _MAX_PENDING]
            for key, item in zip(writer.insert(part), part):
                self._stored[key] = item.priority
        # The table drops the oldest, too.
        for key in list(itertools.islice(self._stored, max(0, len(self._stored) - self._capacity))):
            del self._stored[key]

    def _writer_of(self, state: State) -> wire_writer.Writer:
        self._check(state)
        assert self._writer is not None
        return self._writer

    def _check(self, state: State) -> None:
        if self._writer is None or state != self._token:
            raise ValueError("state of a replay that was begun anew or closed")

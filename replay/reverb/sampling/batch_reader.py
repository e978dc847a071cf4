"""Batches drawn and decoded ahead of the learner's need."""

import collections
import contextlib
import functools
import itertools
import threading

from dm_env import specs

from replay.reverb.sampling import batch_stream, batches, decoder_process
from replay.reverb.wire import errors, wire_client

Source = batch_stream.BatchStream | decoder_process.DecoderProcess


class BatchReader:
    """Draws and decodes batches ahead, in parallel with the thread that takes them.

    More is requested only when a batch is taken, and processes take turns, so that at most
    `max_in_flight` samples are drawn by priorities that later updates may have changed, or counted
    by the server's rate limiter but unused; and none waits while more than those are taken.
    """

    def __init__(
        self,
        client: wire_client.Client,
        table: str,
        spec: specs.Array,
        frame_stack: int,
        batch_size: int,
        prefetch_batches: int = 2,
        num_processes: int = 0,
    ):
        """Requests the first batches.

        Args:
          client: of the server.
          table: its name.
          spec: one environment's newest observation.
          frame_stack: S; 0 for vectors, left as they are.
          batch_size: transitions of a batch.
          prefetch_batches: how many batches are requested ahead.
          num_processes: how many draw and decode batches in turn, at most `prefetch_batches`; 0: a
            thread of this process does.
        """
        if not 0 <= num_processes <= prefetch_batches:
            raise ValueError(f"num_processes = {num_processes}: expected 0 to {prefetch_batches}")
        self._doing = f"reading batches from {table!r} at {client.address}"
        self._max_in_flight = prefetch_batches * batch_size
        count = max(num_processes, 1)
        # By source: batches that can be taken, and what ended it.
        self._ready = [collections.deque[batches.DrawnBatch]() for _ in range(count)]
        self._errors: dict[int, errors.WireError] = {}
        # Guards these two, which the sources' threads change.
        self._changed = threading.Condition()
        self._turns = itertools.cycle(range(count))
        self._turn = next(self._turns)
        self._sources: list[Source] = []
        batch_spec = batches.BatchSpec(batch_size, frame_stack, spec.shape, spec.dtype.name)
        make = decoder_process.DecoderProcess if num_processes else batch_stream.BatchStream
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)
            for i in range(count):
                share = len(range(i, prefetch_batches, count))
                calls = functools.partial(self._keep, i), functools.partial(self._end, i)
                self._sources.append(make(client, table, share, batch_spec, *calls))
            opened.pop_all()

    def __enter__(self) -> "BatchReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def max_in_flight(self) -> int:
        """The staleness bound: samples drawn or requested that `take` has not returned."""
        return self._max_in_flight

    def take(self, timeout_s: float = 60.0, ask_more: bool = True) -> batches.DrawnBatch:
        """Returns the next batch and requests another.

        Args:
          timeout_s: how long to wait for it, in seconds.
          ask_more: False for the last ones.

        Raises:
          errors.WireTimeoutError: it did not come in time.
          errors.WireError: the stream or process whose turn it is has ended, and all its batches
            are taken: make another reader.
        """
        turn = self._turn
        ready = self._ready[turn]
        with self._changed:
            self._changed.wait_for(lambda: ready or turn in self._errors, timeout_s)
            if not ready:
                raise self._errors.get(turn) or self._late(timeout_s)
            batch = ready.popleft()
        self._turn = next(self._turns)
        if ask_more:
            self._sources[turn].ask()
        return batch

    def close(self) -> None:
        """Ends the streams; batches not taken are lost, though counted."""
        for source in self._sources:
            source.close()

    def _late(self, timeout_s: float) -> errors.WireTimeoutError:
        return errors.WireTimeoutError(
            f"{self._doing}: none after {timeout_s:g} s: the table has too few items, its rate "
            "limiter waits for inserts, or the server does not answer"
        )

    def _keep(self, source: int, batch: batches.DrawnBatch) -> None:
        with self._changed:
            self._ready[source].append(batch)
            self._changed.notify_all()

    def _end(self, source: int, error: errors.WireError) -> None:
        with self._changed:
            self._errors[source] = error
            self._changed.notify_all()

"""Batches drawn and decoded ahead of the learner's need."""

import collections
import functools
import threading

from dm_env import specs

from replay.reverb import batch_stream, batches, decoder_process
from replay.wire import client as client_lib
from replay.wire import errors

Source = batch_stream.BatchStream | decoder_process.DecoderProcess


class BatchReader:
    """Draws and decodes batches ahead, beside the thread that takes them.

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
        num_processes: int = 0,
    ):
        """Asks for the first batches.

        Args:
          client: of the server.
          table: its name.
          spec: one lane's newest observation.
          frame_stack: S; 0 for vectors, left as they are.
          batch_size: transitions of a batch.
          prefetch_batches: how many batches are asked for ahead.
          num_processes: that draw and decode batches in turn, at most `prefetch_batches`; 0: a
            thread of this process does.
        """
        if not 0 <= num_processes <= prefetch_batches:
            raise ValueError(f"num_processes = {num_processes}: expected 0 to {prefetch_batches}")
        self._doing = f"reading batches from {table!r} at {client.address}"
        self._max_in_flight = prefetch_batches * batch_size
        # Batches that can be taken, each with the number of the source that it came from.
        self._ready: collections.deque[tuple[batches.Batch, int]] = collections.deque()
        self._error: errors.WireError | None = None
        # Guards what the sources' threads change: the ready batches and the error.
        self._changed = threading.Condition()
        batch_spec = batches.BatchSpec(batch_size, frame_stack, spec.shape, spec.dtype.name)
        num_sources = max(num_processes, 1)
        source = decoder_process.DecoderProcess if num_processes else batch_stream.BatchStream
        self._sources: list[Source] = [
            source(
                client,
                table,
                len(range(i, prefetch_batches, num_sources)),
                batch_spec,
                functools.partial(self._keep, i),
                self._end,
            )
            for i in range(num_sources)
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

    def take(self, timeout_s: float = 60.0, ask_more: bool = True) -> batches.Batch:
        """The next batch; asks for another.

        Args:
          timeout_s: how long to wait for it, in seconds.
          ask_more: False for the last ones.

        Raises:
          errors.WireTimeoutError: it did not come in time.
          errors.WireError: a stream is broken, and the batches that had come are taken: make
            another reader.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._error, timeout_s)
            if not self._ready:
                raise self._error or self._late(timeout_s)
            batch, source = self._ready.popleft()
        if ask_more:
            self._sources[source].ask()
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

    def _keep(self, source: int, batch: batches.Batch) -> None:
        with self._changed:
            self._ready.append((batch, source))
            self._changed.notify_all()

    def _end(self, error: errors.WireError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

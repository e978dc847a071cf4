"""Batches drawn and decoded ahead of the learner's need."""

import collections
import functools
import threading

from dm_env import specs

from replay.reverb import batch_stream, batches, decoder_process
from replay.wire import client as client_lib
from replay.wire import errors


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
          num_processes: that draw and decode a share of every batch each, at most `batch_size`; 0:
            a thread of this process does.
        """
        if not 0 <= num_processes <= batch_size:
            raise ValueError(f"num_processes = {num_processes}: expected 0 to {batch_size}")
        self._doing = f"reading batches from {table!r} at {client.address}"
        self._max_in_flight = prefetch_batches * batch_size
        self._ready: collections.deque[batches.Batch] = collections.deque()
        self._error: errors.WireError | None = None
        # Guards what the sources' threads change: the ready batches and the error.
        self._changed = threading.Condition()
        # Guards the processes' shares of batches that are not complete yet.
        self._joining = threading.Lock()
        self._shares = [collections.deque[batches.Batch]() for _ in range(num_processes)]
        whole = batches.BatchSpec(batch_size, frame_stack, spec.shape, spec.dtype.name)
        where = client, table, prefetch_batches
        self._sources: list[batch_stream.BatchStream | decoder_process.DecoderProcess]
        if num_processes:
            self._sources = [
                decoder_process.DecoderProcess(
                    *where,
                    whole._replace(batch_size=len(range(i, batch_size, num_processes))),
                    functools.partial(self._join, i),
                    self._end,
                )
                for i in range(num_processes)
            ]
        else:
            decoder = batches.BatchDecoder(whole)
            self._sources = [batch_stream.BatchStream(*where, decoder, self._keep, self._end)]

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
            batch = self._ready.popleft()
        if ask_more:
            for source in self._sources:
                source.ask()
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

    def _join(self, process: int, share: batches.Batch) -> None:
        with self._joining:
            self._shares[process].append(share)
            if not all(self._shares):
                return
            batch = batches.join([shares.popleft() for shares in self._shares])
        self._keep(batch)

    def _keep(self, batch: batches.Batch) -> None:
        with self._changed:
            self._ready.append(batch)
            self._changed.notify_all()

    def _end(self, error: errors.WireError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

"""Sampling: a stream of items, decoded ahead in a thread, no further than told."""

import collections
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import numpy as np

from replay.wire import client as client_lib
from replay.wire import codec, errors, messages

_JOIN_S = 5.0


class Sampled(NamedTuple):
    """An item as it was drawn.

    Attributes:
      key: of the item, 64 bits: it doesn't fit JAX's integers.
      probability: with which it was drawn.
      table_size: items that the table had.
      priority: of the item when it was drawn.
      times_sampled: how often it has been drawn, this time included.
      parts: its columns; items of one message may share memory.
    """

    key: int
    probability: float
    table_size: int
    priority: float
    times_sampled: int
    parts: tuple[codec.Parts, ...]

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """Its columns as arrays, read-only; those in several parts are joined at every call."""
        return tuple(parts.join() for parts in self.parts)


class Assembler:
    """Items out of the messages of a sample stream; an item may come in several."""

    def __init__(self, max_bytes: int = codec.DEFAULT_MAX_BYTES):
        """No array of an item may be larger than `max_bytes`."""
        self._max_bytes = max_bytes
        self._info: Any = None
        self._chunks: dict[int, Any] = {}

    def feed(self, response: Any) -> list[Sampled]:
        """The items that are complete with this SampleResponse.

        Raises:
          errors.WireError: it makes no sense.
        """
        decoder = codec.Decoder(self._max_bytes)
        complete = []
        for entry in response.entries:
            self._collect(entry)
            if entry.end_of_sequence:
                parts = decoder.parts(self._info.item.trajectory, self._chunks)
                complete.append(_sampled(self._info, parts))
                self._info, self._chunks = None, {}
        return complete

    def _collect(self, entry: Any) -> None:
        if entry.HasField("info") == (self._info is not None):
            which = "an item within another" if self._info else "data of no item"
            raise errors.WireError(f"sample stream: {which}: expected items one after the other")
        if entry.HasField("info"):
            self._info = entry.info
        for chunk in entry.data:
            self._chunks[chunk.key] = chunk


def _sampled(info: Any, parts: tuple[codec.Parts, ...]) -> Sampled:
    item, probability, table_size = info.item, info.probability, info.table_size
    if not parts or not 0 <= probability <= 1 or table_size < 1:
        raise errors.WireError(
            f"item {item.key} of {len(parts)} columns, probability {probability}, "
            f"from {table_size} items: expected 1 or more, 0 to 1, and 1 or more"
        )
    return Sampled(
        key=item.key,
        probability=probability,
        table_size=table_size,
        priority=item.priority,
        times_sampled=item.times_sampled,
        parts=parts,
    )


class SampleStream:
    """Samples of one table as they come, decoded in a thread of its own.

    Attributes:
      doing, address: what it does and where, for errors.
    """

    def __init__(
        self,
        client: client_lib.Client,
        table: str,
        count: int,
        on_samples: Callable[[list[Sampled]], None],
        on_end: Callable[[errors.WireError], None],
        max_bytes: int = codec.DEFAULT_MAX_BYTES,
    ):
        """Opens the stream.

        Args:
          client: of the server.
          table: its name.
          count: samples to ask for at first.
          on_samples: called with what has come, in the stream's thread. A WireError that it raises
            ends the stream.
          on_end: called with the cause when the stream has ended, in the stream's thread.
          max_bytes: how large an array of an item may be.
        """
        self.doing, self.address = f"sampling from {table!r}", client.address
        self._table = table
        self._on_samples, self._on_end = on_samples, on_end
        self._asked = 0
        self._asking = threading.Lock()
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self.ask(count)
        self._call = client.stream("SampleStream", iter(self._requests.get, None))
        reader = (Assembler(max_bytes),)
        self._thread = threading.Thread(
            target=self._read, args=reader, name="replay-sampler", daemon=True
        )
        self._thread.start()

    def ask(self, count: int) -> None:
        """Asks for so many more samples; any thread may."""
        with self._asking:
            self._asked += count
        self._requests.put(messages.SampleRequest(table=self._table, num_samples=count))

    def close(self) -> None:
        """Ends the stream; samples on their way are lost, though counted."""
        self._requests.put(None)
        self._call.cancel()
        self._thread.join(_JOIN_S)

    def _read(self, assembler: Assembler) -> None:
        """Decodes samples until the stream ends; a thread of its own."""
        where = f"{self.doing} at {self.address}"
        error = errors.WireUnavailableError(f"{where}: the server ended the stream")
        try:
            for response in self._call:
                samples = assembler.feed(response)
                self._count(len(samples))
                self._on_samples(samples)
        except grpc.RpcError as failure:
            error = errors.from_rpc(failure, self.doing, self.address)
        except Exception as failure:  # or else nobody would know that no more samples come
            known = isinstance(failure, errors.WireError)
            error = failure if known else errors.WireError(f"{where}: {failure!r}")
            self._call.cancel()
        self._on_end(error)

    def _count(self, num_samples: int) -> None:
        with self._asking:
            self._asked -= num_samples
            if self._asked < 0:
                raise errors.WireError(f"{self.doing}: the server sent more than it was asked for")


class Sampler:
    """Draws items of one table; for one thread.

    Samples are asked for ahead, and the server's rate limiter counts them as soon as it sends them:
    up to `max_in_flight` are drawn by priorities of the past, and count without having been used.
    """

    def __init__(
        self,
        client: client_lib.Client,
        table: str,
        max_in_flight: int = 64,
        max_bytes: int = codec.DEFAULT_MAX_BYTES,
    ):
        """Opens the stream and asks for the first samples.

        Args:
          client: of the server.
          table: its name.
          max_in_flight: how many samples are asked for and not yet taken, at any time.
          max_bytes: how large an array of an item may be.
        """
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight = {max_in_flight}: expected an integer >= 1")
        self._max_in_flight = max_in_flight
        self._ready: collections.deque[Sampled] = collections.deque()
        self._error: errors.WireError | None = None
        # Guards what the stream's thread changes: the ready samples and the error.
        self._changed = threading.Condition()
        self._stream = SampleStream(client, table, max_in_flight, self._keep, self._end, max_bytes)

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_ready(self) -> int:
        """Samples that can be taken without waiting."""
        return len(self._ready)

    def take(self, count: int, timeout_s: float = 60.0, ask_more: bool = True) -> list[Sampled]:
        """The next samples; asks for as many more.

        Args:
          count: how many, at most `max_in_flight`.
          timeout_s: how long to wait for them, in seconds.
          ask_more: False for the last ones.

        Raises:
          errors.WireTimeoutError: they did not come in time; those that did are kept.
          errors.WireError: the stream is broken, and stays so: make another sampler.
        """
        if not 1 <= count <= self._max_in_flight:
            raise ValueError(f"count = {count}: expected 1 to {self._max_in_flight}")
        with self._changed:
            self._changed.wait_for(lambda: self._error or len(self._ready) >= count, timeout_s)
            if len(self._ready) < count:
                raise self._error or self._late(count, timeout_s)
            taken = [self._ready.popleft() for _ in range(count)]
        if ask_more:
            self._stream.ask(count)
        return taken

    def close(self) -> None:
        """Ends the stream; samples not taken are lost, though counted."""
        self._stream.close()

    def _late(self, count: int, timeout_s: float) -> errors.WireTimeoutError:
        return errors.WireTimeoutError(
            f"{self._stream.doing} at {self._stream.address}: {len(self._ready)} of {count} after "
            f"{timeout_s:g} s: the rate limiter waits for inserts, or the server does not answer"
        )

    def _keep(self, samples: list[Sampled]) -> None:
        with self._changed:
            self._ready.extend(samples)
            self._changed.notify_all()

    def _end(self, error: errors.WireError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

"""Sampling: a stream of items, decoded a limited number ahead in a thread."""

import collections
import threading
from typing import Any, NamedTuple

import numpy as np

from replay.reverb.wire import codec, errors, sample_stream, wire_client


class Sampled(NamedTuple):
    """An item as it was drawn.

    Attributes:
      key: of the item, 64 bits: it doesn't fit JAX's integers.
      probability: of drawing it.
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
    """Decodes the items of a sample stream."""

    def __init__(self, max_bytes: int = codec.DEFAULT_MAX_BYTES):
        """No array of an item may be larger than `max_bytes`."""
        self._max_bytes = max_bytes
        self._framing = sample_stream.Framing()

    def feed(self, response: Any) -> list[Sampled]:
        """The items that this SampleResponse completes.

        Raises:
          errors.WireError: it makes no sense.
        """
        decoder = codec.Decoder(self._max_bytes)
        return [
            _sampled(info, decoder.parts(info.item.trajectory, chunks))
            for info, chunks in self._framing.complete(response)
        ]


def _sampled(info: Any, parts: tuple[codec.Parts, ...]) -> Sampled:
    item = info.item
    return Sampled(
        key=item.key,
        probability=info.probability,
        table_size=info.table_size,
        priority=item.priority,
        times_sampled=item.times_sampled,
        parts=parts,
    )


class Sampler:
    """Draws items of one table; for one thread.

    Samples are requested ahead, and the server's rate limiter counts them as soon as it sends them:
    up to `max_in_flight` are drawn by outdated priorities, and counted though unused.
    """

    def __init__(
        self,
        client: wire_client.Client,
        table: str,
        max_in_flight: int = 64,
        max_bytes: int = codec.DEFAULT_MAX_BYTES,
    ):
        """Opens the stream and requests the first samples.

        Args:
          client: of the server.
          table: its name.
          max_in_flight: how many samples are requested and not yet taken, at any time.
          max_bytes: how large an array of an item may be.
        """
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight = {max_in_flight}: expected an integer >= 1")
        self._max_in_flight = max_in_flight
        self._ready: collections.deque[Sampled] = collections.deque()
        self._error: errors.WireError | None = None
        # Guards what the stream's thread changes: the ready samples and the error.
        self._changed = threading.Condition()
        self._assembler = Assembler(max_bytes)
        self._stream = sample_stream.SampleStream(
            client, table, max_in_flight, self._keep, self._end
        )

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_ready(self) -> int:
        """Samples that can be taken without waiting."""
        return len(self._ready)

    def take(self, count: int, timeout_s: float = 60.0, ask_more: bool = True) -> list[Sampled]:
        """Returns the next samples and requests as many more.

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

    def _keep(self, response: Any) -> None:
        samples = self._assembler.feed(response)
        with self._changed:
            self._ready.extend(samples)
            self._changed.notify_all()

    def _end(self, error: errors.WireError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

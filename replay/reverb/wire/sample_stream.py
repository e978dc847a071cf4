"""The stream that samples come through, and how its messages are cut into items."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from replay.reverb.wire import errors, messages, wire_client

_JOIN_S = 5.0


class Framing:
    """Items, with their chunks, from SampleResponses; an item may span several."""

    def __init__(self):
        """Starts between two items."""
        self._info: Any = None
        self._chunks: dict[int, Any] = {}

    def complete(self, response: Any) -> Iterator[tuple[Any, dict[int, Any]]]:
        """The Info message of each item that this response completes, and its chunks by key.

        Raises:
          errors.WireError: it makes no sense.
        """
        for entry in response.entries:
            self._collect(entry)
            if entry.end_of_sequence:
                info, chunks = self._info, self._chunks
                self._info, self._chunks = None, {}
                yield _checked(info), chunks

    def _collect(self, entry: Any) -> None:
        if entry.HasField("info") == (self._info is not None):
            which = "an item within another" if self._info else "data of no item"
            raise errors.WireError(f"sample stream: {which}: expected items one after the other")
        if self._info is None:
            self._info = entry.info
        for chunk in entry.data:
            self._chunks[chunk.key] = chunk


def _checked(info: Any) -> Any:
    num_columns = len(info.item.trajectory.columns)
    if not num_columns or not 0 <= info.probability <= 1 or info.table_size < 1:
        raise errors.WireError(
            f"item {info.item.key} of {num_columns} columns, probability {info.probability}, "
            f"from {info.table_size} items: expected 1 or more, 0 to 1, and 1 or more"
        )
    return info


class SampleStream:
    """Samples of one table as they arrive, no more than are requested.

    Attributes:
      doing, address: what it does and where, for errors.
    """

    def __init__(
        self,
        client: wire_client.Client,
        table: str,
        count: int,
        on_response: Callable[[Any], object],
        on_end: Callable[[errors.WireError], object],
    ):
        """Opens the stream.

        Args:
          client: of the server.
          table: its name.
          count: samples to request at first.
          on_response: called with every SampleResponse, in a thread of the stream's own. A
            WireError that it raises ends the stream.
          on_end: called with the cause when the stream has ended, in that thread.
        """
        self.doing, self.address = f"sampling from {table!r}", client.address
        self._table = table
        self._on_response, self._on_end = on_response, on_end
        self._left = 0
        self._asking = threading.Lock()
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self.ask(count)
        self._call = client.stream("SampleStream", iter(self._requests.get, None))
        self._thread = threading.Thread(target=self._read, name="replay-sampler", daemon=True)
        self._thread.start()

    def ask(self, count: int) -> None:
        """Requests `count` more samples; may be called from any thread."""
        with self._asking:
            self._left += count
        self._requests.put(messages.SampleRequest(table=self._table, num_samples=count))

    def close(self) -> None:
        """Ends the stream; samples on their way are lost, though counted."""
        self._requests.put(None)
        self._call.cancel()
        self._thread.join(_JOIN_S)

    def _read(self) -> None:
        """Takes samples until the stream ends; runs in its own thread."""
        where = f"{self.doing} at {self.address}"
        error = errors.WireUnavailableError(f"{where}: the server ended the stream")
        try:
            for response in self._call:
                self._count(sum(entry.end_of_sequence for entry in response.entries))
                self._on_response(response)
        except grpc.RpcError as failure:
            error = errors.from_rpc(failure, self.doing, self.address)
        except Exception as failure:  # else nobody would know that no more samples come
            known = isinstance(failure, errors.WireError)
            error = failure if known else errors.WireError(f"{where}: {failure!r}")
            self._call.cancel()
        self._on_end(error)

    def _count(self, num_samples: int) -> None:
        with self._asking:
            self._left -= num_samples
            if self._left < 0:
                raise errors.WireError(f"{self.doing}: the server sent more than it was asked for")

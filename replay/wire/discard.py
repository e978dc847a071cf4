"""Drawing samples for the server's count of them alone."""

import queue
import threading

import grpc

from replay.wire import client as client_lib
from replay.wire import errors, messages

_JOIN_S = 5.0


class Discard:
    """Draws items of one table in a thread of its own; they are received, but not decoded."""

    def __init__(self, client: client_lib.Client, table: str, count: int):
        """Asks for `count` samples."""
        self._doing, self._address = f"dropping samples of {table!r}", client.address
        self._left = count
        self._error: errors.WireError | None = None
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self._requests.put(messages.SampleRequest(table=table, num_samples=count))
        self._call = client.stream("SampleStream", iter(self._requests.get, None))
        self._thread = threading.Thread(target=self._read, name="replay-discard", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Discard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def left(self) -> int:
        """How many have not come yet.

        Raises:
          errors.WireError: the stream broke before all had come.
        """
        if self._error is not None and self._left > 0:
            raise self._error
        return self._left

    def close(self) -> None:
        """Ends the stream."""
        self._requests.put(None)
        self._call.cancel()
        self._thread.join(_JOIN_S)

    def _read(self) -> None:
        error = errors.WireUnavailableError(
            f"{self._doing} at {self._address}: the server ended the stream"
        )
        try:
            for response in self._call:
                self._left -= sum(entry.end_of_sequence for entry in response.entries)
        except grpc.RpcError as failure:
            error = errors.from_rpc(failure, self._doing, self._address)
        self._error = error

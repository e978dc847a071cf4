"""The stream that inserts go through, and the proof that they arrived."""

import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from replay.reverb.wire import errors, wire_client

_JOIN_S = 5.0


class InsertStream:
    """Requests to a server, and the items that it has not confirmed yet; for one thread.

    Attributes:
      address: of the server.
    """

    def __init__(self, client: wire_client.Client):
        """Opens the stream to the client's server."""
        self.address = client.address
        self._unconfirmed: dict[int, Any] = {}
        self._error: errors.WireError | None = None
        # Guards what the stream's thread changes: the unconfirmed items and the error.
        self._changed = threading.Condition()
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self._call = client.stream("InsertStream", iter(self._requests.get, None))
        self._thread = threading.Thread(target=self._read, name="replay-writer", daemon=True)
        self._thread.start()

    @property
    def num_unconfirmed(self) -> int:
        """Items that are expected and not confirmed yet."""
        with self._changed:
            return len(self._unconfirmed)

    @property
    def oldest(self) -> Any:
        """The value given with the oldest unconfirmed item; None if there is none."""
        with self._changed:
            return next(iter(self._unconfirmed.values()), None)

    @property
    def error(self) -> errors.WireError | None:
        """What broke the stream; None as long as it is not known to be broken."""
        return self._error

    def unconfirmed(self) -> dict[int, Any]:
        """The value given with each unconfirmed item, by key, in the order of `expect`."""
        with self._changed:
            return dict(self._unconfirmed)

    def expect(self, items: Mapping[int, Any]) -> None:
        """Counts items as unconfirmed, before they are sent.

        Args:
          items: by the items' keys, any value that the caller wants back.

        Raises:
          errors.WireError: the stream is broken, and stays so; none was counted.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            self._unconfirmed.update(items)

    def adopt(self, items: Mapping[int, Any]) -> None:
        """Counts items that an earlier stream left unconfirmed, even if this stream is broken."""
        with self._changed:
            self._unconfirmed.update(items)

    def send(self, request: Any) -> None:
        """Sends an InsertRequest, or the bytes of one; does nothing if the stream is broken."""
        self._requests.put(request)

    def wait(self, num_unconfirmed: int, timeout_s: float) -> int:
        """Waits until at most `num_unconfirmed` items are unconfirmed; returns how many are.

        Raises:
          errors.WireError: the stream is broken, with more than that unconfirmed.
        """

        def done() -> bool:
            return self._error is not None or len(self._unconfirmed) <= num_unconfirmed

        with self._changed:
            self._changed.wait_for(done, timeout_s)
            left = len(self._unconfirmed)
            if left > num_unconfirmed and self._error is not None:
                raise self._error
            return left

    def close(self) -> None:
        """Ends the stream; items that are unconfirmed may or may not arrive."""
        self._requests.put(None)
        self._call.cancel()
        self._thread.join(_JOIN_S)

    def _read(self) -> None:
        """Takes confirmations until the stream ends; runs in its own thread."""
        try:
            for response in self._call:
                self._confirm(response.keys)
            error = errors.WireUnavailableError(
                f"inserting at {self.address}: the server ended the stream"
            )
        except grpc.RpcError as failure:
            error = errors.from_rpc(failure, "inserting", self.address)
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _confirm(self, keys: Sequence[int]) -> None:
        with self._changed:
            for key in keys:
                self._unconfirmed.pop(key, None)
            self._changed.notify_all()

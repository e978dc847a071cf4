"""The unary calls of a replay server, and the channel that its streams share."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import grpc

from replay.reverb.wire import errors, messages

# A message of the server is about 2 MB, but an item (parameters) may be larger and comes whole.
DEFAULT_MAX_MESSAGE_BYTES = 1 << 28
_MAX_KEY = 2**64 - 1


class TableInfo(NamedTuple):
    """A table as the server reports it.

    Attributes:
      name: of the table.
      size, max_size: items that it holds, and can hold.
      num_inserts, num_samples: what its rate limiter has counted; a restore sets both back.
      min_size: items it must hold before one can be sampled.
    """

    name: str
    size: int
    max_size: int
    num_inserts: int
    num_samples: int
    min_size: int


class Client:
    """A connection to one replay server. Threads may share it; forked processes can't."""

    def __init__(
        self,
        address: str,
        timeout_s: float = 10.0,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ):
        """Connects as soon as the first call is made.

        Args:
          address: "host:port".
          timeout_s: how long a unary call may take, in seconds, unless given with the call.
          max_message_bytes: a longer message from the server is an error.
        """
        self.address = address
        self._timeout_s = timeout_s
        options = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # By default it grows to two minutes, which would delay reaching a restarted server.
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.enable_http_proxy", 0),
            # Else a client made after a server's restart would share the old one's back-off.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._channel = grpc.insecure_channel(address, options=options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls under way."""
        self._channel.close()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Waits until the server accepts connections.

        Raises:
          errors.WireUnavailableError: it does not within `timeout_s` seconds.
        """
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout_s)
        except grpc.FutureTimeoutError as error:
            raise errors.WireUnavailableError(
                f"replay server at {self.address}: no connection within {timeout_s:g} s"
            ) from error
        finally:
            ready.cancel()

    def server_info(self, timeout_s: float | None = None) -> dict[str, TableInfo]:
        """The server's tables by name."""
        response = self._call("ServerInfo", messages.Empty(), "asking for the tables", timeout_s)
        return {table.name: _table_info(table) for table in response.tables}

    def incarnation(self, timeout_s: float | None = None) -> int:
        """128 bits that the server draws at every start, restored or not."""
        response = self._call("ServerInfo", messages.Empty(), "asking which it is", timeout_s)
        return response.tables_state_id.high << 64 | response.tables_state_id.low

    def update_priorities(
        self,
        table: str,
        keys: Iterable[int],
        priorities: Iterable[float],
        timeout_s: float | None = None,
    ) -> None:
        """Sets the priorities of items; keys that the table does not have are ignored.

        Args:
          table: its name.
          keys: of the items, as they were sampled (64 bits: they don't fit JAX's integers).
          priorities: as many, finite and >= 0.
          timeout_s: how long it may take.
        """
        request = messages.MutateRequest(table=table)
        for key, priority in zip(_keys(keys), priorities, strict=True):
            request.updates.add(key=key, priority=check_priority(priority))
        self._call("MutatePriorities", request, f"setting priorities in {table!r}", timeout_s)

    def delete(self, table: str, keys: Iterable[int], timeout_s: float | None = None) -> None:
        """Deletes items; keys that the table does not have are ignored."""
        request = messages.MutateRequest(table=table, deletes=_keys(keys))
        self._call("MutatePriorities", request, f"deleting from {table!r}", timeout_s)

    def reset(self, table: str, timeout_s: float | None = None) -> None:
        """Deletes all items of a table and sets its rate limiter's counts to 0."""
        request = messages.ResetRequest(table=table)
        self._call("Reset", request, f"resetting {table!r}", timeout_s)

    def checkpoint(self, timeout_s: float) -> str:
        """Has the server write a checkpoint, which replaces the previous one.

        Args:
          timeout_s: about 50 s are needed for a million transitions.

        Returns:
          Its path on the server's machine.
        """
        request = messages.Empty()
        return self._call("Checkpoint", request, "writing a checkpoint", timeout_s).path

    def stream(self, method: str, requests: Iterable[Any]) -> Any:
        """Starts a streaming call with messages or their bytes; iterate for the responses."""
        _, response = messages.METHODS[method]
        start = self._channel.stream_stream(messages.path(method), _serialize, response.FromString)
        return start(iter(requests))

    def _call(self, method: str, request: Any, doing: str, timeout_s: float | None) -> Any:
        request_class, response_class = messages.METHODS[method]
        call = self._channel.unary_unary(
            messages.path(method), request_class.SerializeToString, response_class.FromString
        )
        try:
            return call(request, timeout=self._timeout_s if timeout_s is None else timeout_s)
        except grpc.RpcError as error:
            raise errors.from_rpc(error, doing, self.address) from error


def check_priority(priority: float) -> float:
    """The priority as a float.

    Raises:
      ValueError: it is not valid for an item.
    """
    if not math.isfinite(priority) or priority < 0:
        raise ValueError(f"priority = {priority}: expected a finite number >= 0")
    return float(priority)


def _serialize(request: Any) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _keys(keys: Iterable[int]) -> Sequence[int]:
    whole = [int(key) for key in keys]
    for key in whole:
        if not 0 <= key <= _MAX_KEY:
            raise ValueError(f"key = {key}: expected one from 0 to {_MAX_KEY}")
    return whole


def _table_info(table: Any) -> TableInfo:
    limiter = table.limiter
    return TableInfo(
        name=table.name,
        size=table.size,
        max_size=table.max_size,
        num_inserts=limiter.inserts.completed,
        num_samples=limiter.samples.completed,
        min_size=limiter.min_size,
    )

"""What can go wrong between a client and a replay server; the messages are one line."""

import json

import grpc


class WireError(RuntimeError):
    """The server refused a request, or what it sent makes no sense."""


class WireUnavailableError(WireError):
    """The server can't be reached, or the connection broke."""


class WireTimeoutError(WireError):
    """The server did not answer in time, or is blocked by its rate limiter."""


_MAX_CHARACTERS = 2000
_BY_NAME = {kind.__name__: kind for kind in (WireError, WireUnavailableError, WireTimeoutError)}
_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: WireUnavailableError,
    grpc.StatusCode.CANCELLED: WireUnavailableError,  # how a stopping server ends streams
    grpc.StatusCode.DEADLINE_EXCEEDED: WireTimeoutError,
}


def from_rpc(error: grpc.RpcError, doing: str, address: str) -> WireError:
    """The error to raise for a failed call.

    Args:
      error: as gRPC raised it.
      doing: what was tried, e.g. "sampling from 'transitions'".
      address: the server's.
    """
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() or "") if isinstance(error, grpc.Call) else str(error)
    kind = _BY_CODE.get(code, WireError)
    return kind(f"{doing} at {address}: {code.name}: {' '.join(details.split())}")


def to_json(error: WireError) -> bytes:
    """The error for another process."""
    return json.dumps([type(error).__name__, str(error)[:_MAX_CHARACTERS]]).encode()


def from_json(content: bytes) -> WireError:
    """The error that `to_json` encoded."""
    name, message = json.loads(content)
    return _BY_NAME[name](message)

"""What can go wrong between a client and a replay server; the messages are one line."""

import grpc


class WireError(RuntimeError):
    """The server refused a request, or what it sent makes no sense."""


class WireUnavailableError(WireError):
    """The server can't be reached, or the connection broke."""


class WireTimeoutError(WireError):
    """The server did not answer in time, or is blocked by its rate limiter."""


_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: WireUnavailableError,
    grpc.StatusCode.CANCELLED: WireUnavailableError,  # what a server that stops ends streams with
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

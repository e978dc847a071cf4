"""Whether a port is free: gRPC would silently share one in use with the other process."""

import errno
import socket


def trouble(port: int) -> OSError | OverflowError | None:
    """What keeps a server from listening on a port of all addresses; None if nothing does."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            probe = socket.socket(family)
        except OSError:  # there is no such family here
            continue
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(("", port))
            except (OSError, OverflowError) as error:
                if getattr(error, "errno", None) != errno.EADDRNOTAVAIL:
                    return error
    return None

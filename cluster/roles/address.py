"""The host and port by which other processes reach the replay server."""

import ipaddress
import re
import socket

from core import checks
from replay.reverb.server import confine, ports

_EXPECTED = "expected a name or number of this machine, such as localhost, 10.0.0.7 or fd00::7"
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def check_host(host: str, is_here: bool) -> str:
    """Checks the host that a user gives.

    Args:
      host: a name or number; an IPv6 number may be in brackets.
      is_here: whether the server will run on this machine, so the host must be its own.

    Returns:
      The host without brackets.

    Raises:
      ConfigError: it can't be one.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if _is_number(bare):
        bare = str(ipaddress.ip_address(bare))  # the short form of an IPv6 address
    elif bare != host or not _is_name(bare):
        hint = "; a port goes into --port" if ":" in host else ""
        raise checks.ConfigError(f"host = {host!r}: {_EXPECTED}{hint}")
    if is_here:
        try:
            confine.resolve(bare)
        except ValueError as error:
            raise checks.ConfigError(f"host = {host!r}: {_EXPECTED}") from error
    return bare


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    """Whether it has the form of a name; other forms of addresses, such as 127.1, don't."""
    labels = host.removesuffix(".").split(".")
    is_numeric = _NUMERIC.fullmatch(labels[-1]) is not None
    return len(host) < 254 and not is_numeric and all(map(_LABEL.fullmatch, labels))


def publish(host: str, port: int | str) -> str:
    """The "host:port" published to clients, with IPv6 addresses in brackets.

    A host that stands for every address is published as this machine's name, or as localhost if
    that can't be resolved.
    """
    if _is_number(host) and ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = _own_name()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _own_name() -> str:
    name = socket.gethostname()
    try:
        confine.resolve(name)
    except ValueError:
        return "localhost"
    return name


def check_port(port: int) -> None:
    """Raises ConfigError if a port that was asked for is not free; 0 stands for any."""
    problem = ports.trouble(port)
    if problem is not None:
        raise checks.ConfigError(f"port = {port}: expected a free one, or 0 for any: {problem}")


def is_free(port: int) -> bool:
    """Whether a server could listen on a port, with IPv4 and IPv6 as far as available."""
    return ports.trouble(port) is None

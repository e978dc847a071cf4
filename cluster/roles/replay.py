"""The replay role: a server in an environment of its own, whose address is published."""

import json
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from absl import logging

from cluster import context
from cluster.roles import address
from cluster.supervision import log_lines, processes
from core import checks, locks
from replay.reverb import connection, tables, wire
from training.system import exit_codes, stopping

_POLL_SECONDS = 0.1
_STATUS_SECONDS = 5.0
# A server whose parent was killed is killed as well, but with much memory that takes a moment.
_PREDECESSOR_SECONDS = 30.0
_PORT_SECONDS = 2.0
_SHOWN_LINES = 20
_ANSWER_SECONDS = 2.0


def check_python(path: Path) -> None:
    """Raises ConfigError if there is no interpreter for the server."""
    if not os.access(path, os.X_OK) or path.is_dir():
        raise checks.ConfigError(
            f"replay_python = {str(path)!r}: expected the interpreter of the replay server's "
            "environment; `make replay-env` makes it"
        )


def run(role: context.Role) -> int:
    """Serves until SIGTERM or SIGINT, or until the server ends.

    Returns:
      0 after a signal; 3 if somebody else has ended the server; else the exit code of its crash.

    Raises:
      ConfigError: if the server refuses what it was given.
    """
    check_python(role.replay_python)
    role.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    with stopping.StopRequest("ending the replay server") as stop:
        _wait_for_predecessor(role, role.checkpoint_dir, stop)
        port = _choose_port(role)
        end = _serve(role, port, stop)
        is_failure = end.exit_code == exit_codes.FAILED and not end.was_up
        if is_failure and port != role.port and not stop.requested:
            # Nobody has asked for this port, which may be why.
            logging.warning("no server at port %d: %s", port, log_lines.error(end.lines))
            end = _serve(role, 0, stop)
        return 0 if stop.requested else _after_end(end.exit_code, end.lines)


class _End(NamedTuple):
    """How a server ended, its last lines, and whether it had come up."""

    exit_code: int
    lines: list[str]
    was_up: bool


def _serve(role: context.Role, port: int, stop: stopping.StopRequest) -> _End:
    """Runs a server until it ends."""
    # Else the file of a server that was killed would be taken for this one's.
    _ready_file(role).unlink(missing_ok=True)
    log = role.run_dir / "logs" / "replay_server.log"
    server = processes.Process(_command(role, port), log)
    was_up = _watch(role, server, stop)
    return _End(server.wait(), server.lines(), was_up)


def _ready_file(role: context.Role) -> Path:
    return role.address_file.parent / "port"


def _command(role: context.Role, port: int) -> list[str]:
    flags = {
        "port": port,
        "address": role.host,
        "tables": json.dumps(tables.tables(role.settings.replay)),
        "checkpoint_dir": role.checkpoint_dir,
        "ready_file": _ready_file(role),
    }
    program = [str(role.replay_python), "-m", "replay.reverb.server"]
    return [*program, *(f"--{name}={value}" for name, value in flags.items())]


def _choose_port(role: context.Role) -> int:
    """The port asked for, or else the last server's, which clients know, or 0 for any."""
    if role.port:
        return role.port
    port = _last_port(role.address_file)
    return port if address.is_free(port) else 0


def _last_port(address_file: Path) -> int:
    try:
        published = connection.read_address(address_file)
    except OSError:
        return 0
    port = published.address.rpartition(":")[2] if published else ""
    return int(port) if port.isdecimal() else 0


def _wait_for_predecessor(
    role: context.Role, checkpoints: Path, stop: stopping.StopRequest
) -> None:
    """Gives a dying server of this run time to end.

    Args:
      role: may ask for a port.
      checkpoints: locked by a server; if it never ends, the next server reports that.
      stop: ends the wait.

    Raises:
      ConfigError: somebody else has the port.
    """
    deadline = time.monotonic() + _PREDECESSOR_SECONDS
    if locks.is_held(checkpoints):
        logging.info("waiting up to %.0f s for another server to end", _PREDECESSOR_SECONDS)
    while locks.is_held(checkpoints) and time.monotonic() < deadline and not stop.requested:
        time.sleep(_POLL_SECONDS)
    # What a process has open is closed piece by piece as it ends.
    deadline = time.monotonic() + _PORT_SECONDS
    while not address.is_free(role.port) and time.monotonic() < deadline and not stop.requested:
        time.sleep(_POLL_SECONDS)
    if not locks.is_held(checkpoints):
        address.check_port(role.port)


def _watch(role: context.Role, server: processes.Process, stop: stopping.StopRequest) -> bool:
    """Publishes the address once the server is up, passes on a signal; returns whether it was."""
    published, is_known, is_stopping, next_status = "", False, False, 0.0
    while server.poll() is None:
        if stop.requested and not is_stopping:
            is_stopping = True
            server.send(signal.SIGTERM)
        if not published and _ready_file(role).exists():
            published = address.publish(role.host, _ready_file(role).read_text().strip())
            connection.publish_address(role.address_file, published)
            logging.info("serving at %s, %.0f s after its start", published, server.seconds)
        if published and time.monotonic() >= next_status:
            next_status = time.monotonic() + _STATUS_SECONDS
            is_known = is_known or _publish_incarnation(role, published)
            role.write_status({"address": published, "seconds": server.seconds})
        time.sleep(_POLL_SECONDS)
    return bool(published)


def _publish_incarnation(role: context.Role, address: str) -> bool:
    """Adds to the address which server is there; returns whether that is known.

    A run that was moved finds its file first, and then perhaps another run's server at its port.
    """
    try:
        with wire.Client(address) as client:
            incarnation = client.incarnation(_ANSWER_SECONDS)
    except wire.WireError as error:
        logging.warning("%s; asking again", error)
        return False
    connection.publish_address(role.address_file, address, incarnation)
    return True


def _after_end(exit_code: int, lines: list[str]) -> int:
    """The role's exit code after the server's; raises ConfigError if it has refused its input."""
    if exit_code == exit_codes.REFUSED:
        raise checks.ConfigError(f"the replay server does not start: {log_lines.error(lines)}")
    for line in lines[-_SHOWN_LINES:]:
        logging.info("server: %s", line)
    logging.error("the replay server has ended: %s", processes.describe(exit_code))
    if exit_code == 0:
        return 3  # somebody has sent it a signal
    return exit_code if exit_code > 0 else 128 - exit_code

"""Finds the replay server, and waits for it as long as it takes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from absl import logging

from replay.reverb import wire

POLL_S = 0.5
_ATTEMPT_S = 5.0
_ANSWER_S = 2.0
_LOG_EVERY_S = 30.0


class Stopped(Exception):  # noqa: N818 - not an error: the process was asked to end
    """The process was asked to end before what it waited for happened."""


class Patience:
    """Logs why a process is waiting, at intervals, as long as it waits."""

    def __init__(self, who: str, every_s: float = _LOG_EVERY_S):
        """Begins to wait.

        Args:
          who: the waiting process, e.g. "actor_2".
          every_s: seconds between log lines, and before the first.
        """
        self._who = who
        self._every_s = every_s
        self._begin = self._reported = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has waited."""
        return time.monotonic() - self._begin

    def report(self, cause: str) -> None:
        """Logs the cause if it is time to."""
        now = time.monotonic()
        if now - self._reported >= self._every_s:
            self._reported = now
            logging.warning("%s: %s for %.0f s", self._who, cause, self.seconds)


class Published(NamedTuple):
    """Where a server is, and which one it is.

    Attributes:
      address: "host:port".
      incarnation: `wire.Client.incarnation`, in base 16; "" if it is not known yet.
    """

    address: str
    incarnation: str = ""


def publish_address(path: Path, address: str, incarnation: int | None = None) -> None:
    """Writes an address to a file atomically; creates its directory if it is missing.

    Args:
      path: of the file.
      address: "host:port".
      incarnation: of the server there, if it is known: clients take no other for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    words = [address] if incarnation is None else [address, _in_base_16(incarnation)]
    temporary.write_text(" ".join(words) + "\n")
    temporary.replace(path)


def _in_base_16(incarnation: int) -> str:
    return f"{incarnation:032x}"


def read_address(path: Path) -> Published | None:
    """What a file has that `publish_address` writes; None if there is nothing yet.

    Raises:
      OSError: the file exists but can't be read.
    """
    try:
        words = path.read_text().split()
    except FileNotFoundError:
        return None
    return Published(*words[:2]) if words else None


def connect(address_file: Path, stop: Callable[[], bool], who: str) -> wire.Client:
    """Connects to the server whose address is in a file, which is reread at each attempt.

    Args:
      address_file: see `publish_address`.
      stop: whether to give up; asked every two seconds at least.
      who: named in the log, which gives the cause twice a minute.

    Returns:
      A client whose server accepts connections.

    Raises:
      Stopped: `stop` said so.
    """
    patience = Patience(who)
    while not stop():
        published, cause = _look_up(address_file)
        client = _try(published, address_file, stop) if published else None
        if client is not None:
            return client
        patience.report(cause)
        if not published:
            time.sleep(POLL_S)
    raise Stopped(f"{who}: asked to end before it had reached the replay server")


def _look_up(address_file: Path) -> tuple[Published | None, str]:
    """What is published, and what is wrong if there is no connection."""
    try:
        published = read_address(address_file)
    except OSError as error:  # a shared file system may fail for a while
        return None, f"{address_file} not readable ({error})"
    if published is None:
        return None, f"no address in {address_file} yet"
    return published, f"replay server at {published.address} not reachable"


def _is_the_one(client: wire.Client, published: Published) -> bool:
    """Whether a server is the published one, and not another run's that has its old port."""
    if not published.incarnation:
        return True
    try:
        return _in_base_16(client.incarnation(_ANSWER_S)) == published.incarnation
    except wire.WireError:
        return False


def _try(published: Published, address_file: Path, stop: Callable[[], bool]) -> wire.Client | None:
    """Gives up after some seconds: a connection may be accepted but never answered."""
    client = wire.Client(published.address)
    end = time.monotonic() + _ATTEMPT_S
    while True:
        try:
            client.wait_until_ready(POLL_S)
            if _is_the_one(client, published):
                return client
            time.sleep(POLL_S)
        except wire.WireUnavailableError:
            pass
        moved = _look_up(address_file)[0] != published
        if moved or stop() or time.monotonic() > end:
            client.close()
            return None

"""Waits for a server or for room on a disk, in steps between which the process may be ended."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from absl import logging

from replay.reverb import connection

Stop = Callable[[], bool]
_Result = TypeVar("_Result")

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Pauses:
    """The pauses of one process.

    Attributes:
      who: the name for the log.
      while_waiting: called in every pause.
    """

    def __init__(self, who: str):
        """Sets a `while_waiting` that does nothing."""
        self.who = who
        self.while_waiting: Callable[[], None] = lambda: None

    def poll(self, stop: Stop) -> bool:
        """Calls `while_waiting`; returns whether the process should end."""
        self.while_waiting()
        return stop()

    def pause(self, stop: Stop, seconds: float) -> None:
        """Waits for some seconds. Raises connection.Stopped if the process should end."""
        if self.poll(stop):
            raise connection.Stopped(f"{self.who}: asked to end while it waited")
        time.sleep(seconds)

    def until_there_is_room(self, write: Callable[[], _Result], stop: Stop, where: str) -> _Result:
        """Retries a write until the disk has room; returns its result.

        Raises:
          connection.Stopped: the process should end.
          OSError: the disk fails for another reason.
        """
        patience = None
        while True:
            try:
                return write()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                cause = f"no room for {where} ({error.strerror})"
            if patience is None:
                logging.warning("%s: %s: waiting", self.who, cause)
                patience = connection.Patience(self.who)
            patience.report(cause)
            self.pause(stop, connection.POLL_S)


def unless_full(change: Callable[[], None]) -> None:
    """Makes a change, unless the disk is full: it can wait, and on some disks it needs room.

    Raises:
      OSError: the disk fails for a reason other than lack of room.
    """
    try:
        change()
    except OSError as error:
        if error.errno not in _FULL:
            raise

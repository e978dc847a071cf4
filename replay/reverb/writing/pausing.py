"""Waiting for a server or for room on a disk, in steps between which the process may be ended."""

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
      who: to name in the log.
      while_waiting: what else is to be done in every pause.
    """

    def __init__(self, who: str):
        """Nothing else is to be done at first."""
        self.who = who
        self.while_waiting: Callable[[], None] = lambda: None

    def poll(self, stop: Stop) -> bool:
        """Does what else is to be done; whether the process shall end."""
        self.while_waiting()
        return stop()

    def pause(self, stop: Stop, seconds: float) -> None:
        """Waits for some seconds. Raises connection.Stopped if the process shall end."""
        if self.poll(stop):
            raise connection.Stopped(f"{self.who}: asked to end while it waited")
        time.sleep(seconds)

    def until_there_is_room(self, write: Callable[[], _Result], stop: Stop, where: str) -> _Result:
        """The result of something that writes to the disk, tried until the disk has room.

        Raises:
          connection.Stopped: the process shall end.
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
    """Makes a change that can be made later too: on some disks it needs room, for a moment.

    Raises:
      OSError: the disk fails, not only for lack of room.
    """
    try:
        change()
    except OSError as error:
        if error.errno not in _FULL:
            raise

"""A clean stop on Ctrl-C and SIGTERM."""

import signal
from types import FrameType

from absl import logging


class Stopped(Exception):  # noqa: N818 - not an error: the process was asked to end
    """Work in progress was given up, as the process is to end."""


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a flag; a second one acts as usual.

    A context manager; only for the main thread.
    """

    def __init__(self, action: str = "stopping after a snapshot"):
        """Changes nothing yet.

        Args:
          action: what follows the signal, for the message.
        """
        self._action = action
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.requested = True
        name = signal.Signals(number).name
        logging.info("%s: %s; once more to stop at once", name, self._action)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

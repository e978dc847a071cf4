"""A clean stop on Ctrl-C and SIGTERM."""

import signal
from types import FrameType

from absl import logging


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a flag; a second one acts as usual.

    A context manager; only for the main thread.
    """

    def __init__(self):
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
        logging.info(
            "%s: stopping after a snapshot; once more to stop at once", signal.Signals(number).name
        )
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

"""The programs of this project: python -m scripts.NAME."""

import sys
from types import TracebackType


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """As Python does, but tells of Ctrl-C in one line; Python then ends by that signal (130)."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


# Here, so that it is in place before a script imports what takes seconds.
sys.excepthook = _show

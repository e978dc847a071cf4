"""The programs of this project: python -m scripts.NAME."""

import sys
from types import TracebackType


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Like Python's own, but shows Ctrl-C in one line; Python then ends by that signal (130)."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


# Here, so that it is in place before a script's slow imports.
sys.excepthook = _show

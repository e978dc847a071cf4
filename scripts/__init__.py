"""The programs of this project: python -m scripts.NAME."""

import sys
from pathlib import Path
from types import TracebackType

if sys.version_info < (3, 11):  # noqa: UP036 - what follows would fail with a traceback
    sys.exit(f"error: Python {sys.version_info[0]}.{sys.version_info[1]}: expected 3.11 or newer")

_ROOT = Path(__file__).parents[1]


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Like Python's own, but one line for Ctrl-C, and for a package that is not installed.

    Python then ends by that signal (130), or with exit code 1.
    """
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    elif (package := _lacking(error)) is not None:
        print(
            f"error: no package {package!r} in {sys.executable}: "
            "`make setup`, then `source .venv/bin/activate`",
            file=sys.stderr,
        )
    else:
        sys.__excepthook__(kind, error, traceback)


def _lacking(error: BaseException) -> str | None:
    """The package of other people that an import did not find."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    return None if (_ROOT / package).is_dir() else package


# Here, so that it is in place before a script's slow imports.
sys.excepthook = _show

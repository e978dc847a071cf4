"""What the scripts share: flags whose errors are one line, and exit codes."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from configs import checks
from training import snapshot

STOPPED = 3
"""Exit code of a run that was stopped before its end."""

USAGE_ERROR = 2
"""Exit code for a bad flag, key or value, and for files that can't be used."""


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """Parses the flags and runs `main`; mistakes of the user end in one line and exit code 2."""
    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    app.run(lambda argv: _guard(lambda: main(argv)), flags_parser=_parse)


def fail(message: str) -> None:
    """Prints a one-line error and exits."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(USAGE_ERROR)


def _parse(argv: Sequence[str]) -> list[str]:
    def parse() -> list[str]:
        remaining = flags.FLAGS(list(argv))
        if len(remaining) > 1:
            fail(f"unexpected argument {remaining[1]!r}: flags start with --")
        return remaining

    # ml_collections reports unknown keys and wrong types with the errors named here.
    return _guard(parse, (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError))


def _guard(call: Callable, errors: tuple[type[BaseException], ...] = ()):
    try:
        return call()
    except (checks.ConfigError, snapshot.SnapshotError, *errors) as error:
        fail(str(error))

"""What the scripts share: flags whose errors are one line, and with which code they end."""

import contextlib
import errno
import logging as python_logging
import math
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TextIO

from absl import app, flags, logging

from core import checks, flag_errors
from training.system import exit_codes, garbage


def run(main: Callable[[Sequence[str]], int | None], allow_arguments: bool = False) -> None:
    """Parses the flags and runs `main`.

    User errors, and numbers that are not finite, end in one line and a code of
    training/system/exit_codes.py.

    Args:
      main: takes the arguments that are not flags and returns the exit code.
      allow_arguments: whether anything may be left.
    """
    garbage.collect_seldom()
    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    # JAX reports every kind of device that it does not find.
    python_logging.getLogger("jax").setLevel(python_logging.WARNING)
    app.run(
        lambda argv: _guard(lambda: main(argv)),
        flags_parser=lambda argv: _parse(argv, allow_arguments),
    )


def fail(message: str, exit_code: int = exit_codes.REFUSED) -> NoReturn:
    """Prints a one-line error and exits."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(exit_code)


def load_config(flag: flags.FlagHolder) -> Any:
    """The ConfigDict that `--config` names, with its overrides."""
    config = flag.value
    if config is None and not flag.present:
        fail("--config is missing: expected a file such as configs/rainbow_nap.py")
    try:
        getattr(config, "keys", None)
    except OSError as error:
        # ml_collections reports a missing file only at the first use of its contents.
        fail(f"--config: {str(error).partition(': ')[2] or error}")
    # Not before: it imports JAX, which --help and a config that is missing need not wait for.
    from training import run_settings

    run_settings.check_is_whole(config)
    flag_errors.check_sections(config, sys.argv[1:])
    return config


def check_given(flag: flags.FlagHolder, means_something: bool, where: str) -> None:
    """Raises ConfigError for a flag that was given where it means nothing.

    Args:
      flag: one whose default stands for itself.
      means_something: whether it does here.
      where: it would mean something, such as "with --run_dir".
    """
    if flag.present and not means_something:
        raise checks.ConfigError(f"{flag.name} = {flag.value}: expected only {where}")


@contextlib.contextmanager
def writing(flag: flags.FlagHolder) -> Iterator[None]:
    """Raises ConfigError, with the flag, where what it names can't be written."""
    try:
        yield
    except OSError as error:
        message = f"{flag.name} = {flag.value!r}: not written: {error}"
        raise checks.ConfigError(message) from error


def _parse(argv: Sequence[str], allow_arguments: bool) -> list[str]:
    try:
        remaining = flags.FLAGS(list(argv))
    except (flags.Error, LookupError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        fail(flag_errors.describe(error, argv))
    except OSError as error:
        fail(f"--config: {error}")
    except Exception as error:  # whatever the code of a config file raises
        fail(f"--config: {flag_errors.describe_failure(error)}")
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        # A configuration's keys have checks of their own.
        if isinstance(value, float) and not math.isfinite(value) and "." not in name:
            fail(f"--{name}={value}: expected a finite number")
    if len(remaining) > 1 and not allow_arguments:
        fail(f"unexpected argument {remaining[1]!r}: flags start with --")
    return remaining


def _guard(call: Callable[[], Any]) -> Any:
    # Not needed to parse flags, and slow to import.
    from core import finite
    from replay.reverb.writing import actor_journal
    from training.checkpoints import snapshot

    try:
        result = call()
        sys.stdout.flush()
        return result
    except BrokenPipeError:
        if not _is_closed(sys.stdout):
            raise
        # Whoever reads the output has ended, `head` for example, and Python would say so again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exit_codes.FAILED)
    except (checks.ConfigError, snapshot.SnapshotError, actor_journal.JournalError) as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(str(error), exit_codes.FAILED)
    except finite.NotFiniteError as error:
        fail(str(error), exit_codes.NOT_FINITE)


def _is_closed(stream: TextIO) -> bool:
    """Whether it is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))

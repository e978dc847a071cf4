"""Locks on files: held by one process at a time, and released automatically when it dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from core import checks

PATIENCE_S = 5.0
"""A killed process frees its memory before its locks, which takes a moment."""

_POLL_S = 0.1
_ASKED_S = 0.001


class HeldError(checks.ConfigError):
    """Another process holds a lock, perhaps one that is about to end."""


@contextlib.contextmanager
def hold(path: Path, refusal: str, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Holds the lock of a file, which is created if missing and never removed.

    Args:
      path: the file; nothing is ever written into it.
      refusal: the error if another process holds it, one line.
      patience_s: how long to wait for the other process to end.

    Raises:
      HeldError: another process holds it.
      ConfigError: it can't be created, or the file system has no locks.
    """
    deadline = time.monotonic() + patience_s
    await_free(path, refusal, patience_s)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise checks.ConfigError(f"{path}: not usable: {error}") from error
    try:
        # Again, as who asks `is_held` has the lock for a moment.
        while not _try(descriptor, path, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise HeldError(refusal)
            time.sleep(_ASKED_S)
        yield
    finally:
        os.close(descriptor)


def await_free(path: Path, refusal: str, patience_s: float = PATIENCE_S) -> None:
    """Waits until no other process holds the lock of a file, which need not exist.

    Raises:
      ConfigError: as `hold` does.
    """
    deadline = time.monotonic() + patience_s
    if is_held(path):
        logging.info("%s is held: waiting up to %.0f s for a process to end", path, patience_s)
    while is_held(path):
        if time.monotonic() > deadline:
            raise HeldError(refusal)
        time.sleep(_POLL_S)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file or directory; changes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # not there
        return False
    try:
        # Shared: NFS asks for a file that is open to be written if it is to be exclusive.
        return not _try(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try(descriptor: int, path: Path, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise checks.ConfigError(
            f"{path}: expected a file system with locks (flock): {error}"
        ) from error
    return True

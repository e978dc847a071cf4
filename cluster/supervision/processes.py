"""Child processes that write a log, keep to their cores and never outlive their parent.

Run as a program, this file does the little that such a child does before its command; so it
imports nothing slow.
"""

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TAIL_BYTES = 1 << 16


class Running(Protocol):
    """A running command, here or on another machine; see `Process` for what each does."""

    @property
    def seconds(self) -> float: ...  # noqa: D102
    def poll(self) -> int | None: ...  # noqa: D102
    def wait(self) -> int: ...  # noqa: D102
    def send(self, number: signal.Signals) -> None: ...  # noqa: D102
    def lines(self) -> list[str]: ...  # noqa: D102


class Process:
    """A running command; its output is appended to a log.

    It has its own process group, so that Ctrl-C in the terminal reaches the parent alone. The
    kernel kills it when the parent ends, for whatever reason.
    """

    def __init__(self, command: Sequence[str], log: Path, cores: Sequence[int] = ()):
        """Starts the command.

        Args:
          command: the path of an executable, and its arguments.
          log: its stdout and stderr are appended to this file.
          cores: those it may use; none: the parent's.
        """
        self._log = log
        self._begin = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        prefix = [sys.executable, "-m", "cluster.supervision.processes", str(os.getpid())]
        with log.open("ab") as stream:
            self._log_begin = stream.tell()
            self._process = subprocess.Popen(
                [*prefix, ",".join(map(str, cores)), *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._begin

    def poll(self) -> int | None:
        """The exit code, minus the signal's number if one ended it; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Waits for the end and returns the exit code as `poll` does."""
        return self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens if the process has ended."""
        self._process.send_signal(number)

    def lines(self) -> list[str]:
        """The last lines that this process wrote to its log, empty ones left out."""
        return last_lines(self._log, self._log_begin)


def last_lines(log: Path, begin: int = 0) -> list[str]:
    """The last lines of a log from a byte on, empty ones left out; none if it can't be read."""
    try:
        with log.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(begin, end - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:  # the user may move a log away
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def describe(exit_code: int) -> str:
    """An exit code in words: "exit code 1", "SIGKILL"."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def share_cores(cores: Sequence[int], num_workers: int) -> list[Sequence[int]]:
    """Divides the cores among workers as evenly as whole cores allow.

    Args:
      cores: the numbers of all cores.
      num_workers: how many shares are wanted, 1 or more.

    Returns:
      The cores of each worker: neighbours, which often share a cache. Empty, for no limit, where
      there are fewer cores than workers.
    """
    if num_workers > len(cores):
        return [()] * num_workers
    bounds = [len(cores) * i // num_workers for i in range(num_workers + 1)]
    return [cores[begin:end] for begin, end in itertools.pairwise(bounds)]


def _become(parent: int, cores: str, command: list[str]) -> None:
    """Turns this process into the command, bound to the cores and to its parent's lifetime."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was told
        return
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    os.execv(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])

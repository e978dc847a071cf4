"""A distributed run as a user starts it, and its processes, for benchmarks and tests."""

import contextlib
import csv
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster import context
from cluster.supervision import processes
from core import checks

REPLAY_PYTHON = context.REPLAY_PYTHON
_KILLED_S = 20.0
_POLL_S = 0.1
_SHOWN_LINES = 8


class Launch:
    """`python -m scripts.launch` in the background; ends with its processes at the block's end.

    Attributes:
      run_dir: the run's directory.
      command: what is run.
      process: of the command, while the block lasts.
    """

    process: processes.Process

    def __init__(self, run_dir: Path, config: str, actors: int = 2, **overrides: Any):
        """Starts nothing yet.

        Args:
          run_dir: the run's directory.
          config: the flag's value.
          actors: how many there are.
          **overrides: of the configuration, by dotted key.
        """
        # As passed to the roles, which are found by it.
        self.run_dir = run_dir.absolute()
        flags = {"config": config, "run_dir": self.run_dir, "actors": actors, "report_seconds": 1}
        flags |= {f"config.{key}": value for key, value in overrides.items()}
        flags["config.log.tensorboard"] = False
        self.command = [sys.executable, "-m", "scripts.launch"]
        self.command += [f"--{key}={value}" for key, value in flags.items()]
        self.log = self.run_dir.with_name(f"{self.run_dir.name}.log")
        self._started = 0.0

    def __enter__(self) -> "Launch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()

    def start(self) -> None:
        """Runs the command, or runs it again after it has ended."""
        self._started = time.time()
        self.process = processes.Process(self.command, self.log)

    def kill_all(self) -> None:
        """Kills everything at once, as when a machine fails; returns when all have ended."""
        killed = list(self.roles().values())
        self.process.send(signal.SIGKILL)
        self.process.wait()
        # A process that is ending has no command line any more, but still its locks.
        wait_until(
            lambda: not self.roles() and not any(map(is_alive, killed)), _KILLED_S, self.tail
        )

    def wait(self, timeout_s: float) -> int | None:
        """Waits for the exit code. Raises TimeoutError."""
        wait_until(lambda: self.process.poll() is not None, timeout_s, self.tail)
        return self.process.poll()

    def wait_for(self, frames: int, timeout_s: float) -> None:
        """Waits until the learner reports this many frames.

        Raises:
          TimeoutError: it does not in time, or the run has ended before.
        """
        has_ended = lambda: self.process.poll() is not None  # noqa: E731
        wait_until(lambda: self.frames() >= frames or has_ended(), timeout_s, self.tail)
        if self.frames() < frames:
            raise TimeoutError(f"ended before frame {frames}\n{self.tail()}")

    def frames(self) -> int:
        """The frames in the learner's last status; 0 before its first since the start."""
        return int(self.status("learner").get("frames", 0))

    def status(self, label: str) -> dict[str, Any]:
        """The last status of the process with a label; empty before its first since the start."""
        found = context.read_status(self.run_dir, label)
        return found if float(found.get("time", 0.0)) >= self._started else {}

    def roles(self) -> dict[str, int]:
        """The IDs of the run's living processes by label, the server's own included."""
        found = {}
        for process, arguments in _commands():
            label = self._label(arguments)
            if label:
                found[label] = process
        return found

    def decoders(self) -> list[int]:
        """The IDs of the learner's living processes that decode batches."""
        learner, found = self.roles().get("learner"), []
        for process, arguments in _commands():
            if "replay.reverb.sampling.decode" in arguments and _parent(process) == learner:
                found.append(process)
        return found

    def _label(self, arguments: Sequence[str]) -> str | None:
        if f"--checkpoint_dir={self.run_dir}/replay/checkpoints" in arguments:
            return "server"
        flags = dict(a[2:].split("=", 1) for a in arguments if a.startswith("--") and "=" in a)
        if flags.get("run_dir") != str(self.run_dir) or "role" not in flags:
            return None
        return context.label(flags["role"], int(flags["index"]))

    def kill(self, label: str) -> bool:
        """Kills a role; returns whether there was one to kill."""
        return self.send(label, signal.SIGKILL)

    def send(self, label: str, number: signal.Signals) -> bool:
        """Sends a signal to the process with a label; returns whether there was one."""
        process = self.roles().get(label)
        if process is not None:
            os.kill(process, number)
        return process is not None

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a CSV file; none if it isn't there."""
        path = self.run_dir / f"{name}.csv"
        if not path.exists():
            return []
        with path.open() as stream:
            return list(csv.DictReader(stream))

    def tail(self) -> str:
        """The ends of all logs."""
        logs = [self.log, *sorted((self.run_dir / "logs").glob("*.log"))]
        return "\n".join(
            f"== {log}\n" + "\n".join(processes.last_lines(log)[-_SHOWN_LINES:]) for log in logs
        )


def _commands() -> Iterator[tuple[int, list[str]]]:
    """The IDs and arguments of all processes of the machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            arguments = path.read_bytes().decode(errors="replace").split("\0")
            yield int(path.parent.name), arguments


def is_alive(process: int) -> bool:
    """Whether a process, or a thread of it, runs or holds anything; not whether it was waited for.

    The first thread of a killed process may have ended before the others, which still have its
    files and their locks.
    """
    state = _state(process)
    return state is not None and (state.name != "Z" or state.num_threads > 1)


def _parent(process: int) -> int:
    """The ID of a process's parent; 0 if the process has ended."""
    state = _state(process)
    return state.parent if state else 0


class _State(NamedTuple):
    """Of a process: one letter, "Z" once it has ended, the parent's ID, the living threads."""

    name: str
    parent: int
    num_threads: int


def _state(process: int) -> _State | None:
    """The state of a process, as the kernel tells it; None if there is no such process."""
    try:
        # The name, in parentheses, may hold spaces; the state is field 3.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _State(fields[0], int(fields[1]), int(fields[17]))


def wait_until(
    condition: Callable[[], object], timeout_s: float, describe: Callable[[], str] = lambda: ""
) -> None:
    """Waits until a condition holds.

    Raises:
      TimeoutError: it does not within `timeout_s` seconds; with what `describe` says.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s:g} s\n{describe()}")
        time.sleep(_POLL_S)


def config_arguments(arguments: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """The configuration in a command line: the file, and the keys' values.

    Raises:
      ConfigError: there is no file, or a flag without "=".
    """
    about = [a.lstrip("-").split("=", 1) for a in arguments if a.lstrip("-").startswith("config")]
    if any(len(flag) == 1 for flag in about):
        raise checks.ConfigError("config: expected --config=FILE and --config.KEY=VALUE, with =")
    values = dict(about)
    if "config" not in values:
        raise checks.ConfigError("config: expected --config=FILE")
    config = values.pop("config")
    return config, {key.partition(".")[2]: value for key, value in values.items()}

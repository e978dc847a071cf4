"""How a benchmark talks to the processes it measures: one line each way, on stdin and stdout.

    worker -> driver   {"work": {...}, "versions": {...}, ...}   once, when it is warmed up
    driver -> worker   run 20                                    train for about 20 seconds
    worker -> driver   {"agent_steps": ..., "updates": ..., ...}
    driver -> worker   quit                                      or the end of stdin

Between its turns a worker is blocked reading stdin, so the others have the machine to themselves.
The standard library only: peers import this file into environments of their own.
"""

import contextlib
import json
import math
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

_ERROR_LINES = 20
# For an answer, beyond the seconds asked for.
_GRACE_SECONDS = 300.0


class WorkerError(RuntimeError):
    """A worker that did not start, died, hung, or answered nonsense; the message is one line.

    Attributes:
      output: the last lines of what it wrote to stderr.
    """

    def __init__(self, message: str, output: str = ""):
        super().__init__(message)
        self.output = output


class Counts(NamedTuple):
    """What a worker has done since it was started."""

    agent_steps: int
    updates: int


class Window(NamedTuple):
    """What a worker did in one turn.

    Attributes:
      agent_steps: steps of all environments together; four frames each.
      updates: gradient steps.
      seconds: how long they took; at least as long as asked for.
      cpu_seconds: processor time they took, summed over threads and child processes.
      peak_memory_mb: most resident memory since the process started, plus its children's share,
        MiB.
    """

    agent_steps: int
    updates: int
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float


def claim_stdout() -> TextIO:
    """Keeps stdout for answers: whatever else the process prints goes to stderr from now on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    # The descriptor, not sys.stdout alone: emulators print from C.
    os.dup2(2, 1)
    return answers


def serve(
    answers: TextIO, description: Mapping[str, Any], train: Callable[[float], Counts]
) -> None:
    """Answers commands from stdin until it ends or says quit.

    Args:
      answers: where answers go, from `claim_stdout`.
      description: what the worker is and does; sent first, when it is ready.
      train: trains for about the given seconds, waits for what it started, and returns the
        counts since the process started.

    Raises:
      ValueError: for an unknown command.
    """
    counts = train(0.0)
    answers.write(json.dumps(dict(description)) + "\n")
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "quit":
            return
        if command != "run":
            raise ValueError(f"unknown command {line.strip()!r}: expected 'run SECONDS' or 'quit'")
        before, seconds, cpu_seconds = counts, time.perf_counter(), _cpu_seconds()
        counts = train(float(argument))
        window = Window(
            agent_steps=counts.agent_steps - before.agent_steps,
            updates=counts.updates - before.updates,
            seconds=time.perf_counter() - seconds,
            cpu_seconds=_cpu_seconds() - cpu_seconds,
            peak_memory_mb=_peak_memory_mb(),
        )
        answers.write(json.dumps(window._asdict()) + "\n")


def _cpu_seconds() -> float:
    """Of this process and its living children."""
    ticks = 0
    for child in _children():
        # The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
        fields = (child / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _peak_memory_mb() -> float:
    """The peak of this process, and the children's proportional share now."""
    kib = own_peak_kib()
    for child in _children():
        lines = (child / "smaps_rollup").read_text(encoding="utf-8").splitlines()
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def own_peak_kib() -> int:
    """VmHWM where /proc has it: a process inherits ru_maxrss from its parent."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _children() -> list[Path]:
    """The children's directories in /proc; none where the system lists none."""
    lists = Path("/proc/self/task").glob("*/children")
    return [Path("/proc") / pid for path in lists for pid in path.read_text().split()]


class Worker:
    """The driver's end: a process that serves."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
        ready_seconds: float = 900.0,
    ):
        """Starts the process and waits until it is ready.

        Args:
          name: of the worker, for messages.
          command: the program and its arguments.
          directory: where it is started.
          environment: variables to set besides those of this process.
          ready_seconds: how long it may take to get ready.

        Raises:
          WorkerError: if it does not start, or does not get ready.
        """
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._answers: queue.Queue[str] = queue.Queue()
        try:
            self._process = subprocess.Popen(
                list(command),
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise WorkerError(
                f"worker {name!r}: {command[0]} can't be started ({error.strerror})"
            ) from error
        self._stdin = cast(TextIO, self._process.stdin)
        self._stdout = cast(TextIO, self._process.stdout)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.description = self._receive(ready_seconds)
        except BaseException:
            self.close()
            raise

    def run(self, seconds: float) -> Window:
        """Lets it train for about `seconds`; blocks until it has answered.

        Raises:
          WorkerError: if it died, hangs, or does not answer with a Window.
        """
        # A worker that is gone is noticed when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self._send(f"run {seconds}")
        answer = self._receive(seconds + _GRACE_SECONDS)
        is_window = set(answer) == set(Window._fields) and all(map(_is_positive, answer.values()))
        if not is_window:
            raise self._error(f"answered {json.dumps(answer)}: expected positive numbers")
        return Window(**answer)

    def close(self) -> None:
        """Ends the process; it may have ended before."""
        with contextlib.suppress(OSError):
            self._send("quit")
            self._stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Children that outlive a killed worker hold its stdout open.
        self._reader.join(10)
        self._stdout.close()
        self._errors.close()

    def _send(self, line: str) -> None:
        self._stdin.write(line + "\n")
        self._stdin.flush()

    def _read(self) -> None:
        for line in self._stdout:
            self._answers.put(line)
        self._answers.put("")

    def _receive(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            self._process.kill()
            raise self._error(f"gave no answer within {seconds:.0f} s") from None
        if not line:
            # For the next call, which would wait in vain.
            self._answers.put("")
            raise self._error(f"ended (exit code {self._process.wait()})")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._error(f"answered {line.strip()[:200]!r}: expected a JSON object")
        return answer

    def _error(self, problem: str) -> WorkerError:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        return WorkerError(f"worker {self.name!r} {problem}", "\n".join(lines[-_ERROR_LINES:]))


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0

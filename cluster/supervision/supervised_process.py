"""One role of a run under supervision: its process, and when it is started again."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable

from cluster import context
from cluster.supervision import processes
from training.system import exit_codes


@dataclasses.dataclass(frozen=True)
class Timing:
    """How patient a supervisor is, in seconds.

    Attributes:
      poll: between two polls of the processes.
      first_delay: before a role that died is restarted; doubles each time.
      max_delay: the upper limit of that.
      ended: before a role that has finished is restarted, while the learner has not.
      healthy: a role that lived this long begins with `first_delay` again.
      steady: a role that lived this long has not died in vain, whatever its status says.
      max_vain_deaths: this many in a row, without progress between them, end the run.
      silent: a role that has not written its status for this long is marked.
      learner: the most the learner may take for its last snapshot.
      evaluator: the most the evaluator may take for a step of the last evaluation.
      grace: the most others may take to end before they are killed.
    """

    poll: float = 0.2
    first_delay: float = 1.0
    max_delay: float = 60.0
    ended: float = 10.0
    healthy: float = 60.0
    steady: float = 3600.0
    max_vain_deaths: int = 5
    silent: float = 60.0
    learner: float = 600.0
    evaluator: float = 600.0
    grace: float = 20.0


@dataclasses.dataclass(frozen=True)
class End:
    """How a process ended: the exit code (minus a signal's number), its age, its last lines."""

    exit_code: int
    seconds: float
    lines: list[str]

    def __str__(self) -> str:
        return processes.describe(self.exit_code)


class _NotStarted:
    """In the place of a process that could not be started, and so has ended."""

    seconds = 0.0

    def __init__(self, error: OSError):
        self._error = error

    def poll(self) -> int:
        return os.EX_OSERR

    def wait(self) -> int:
        return os.EX_OSERR

    def send(self, number: signal.Signals) -> None:
        del number

    def lines(self) -> list[str]:
        return [f"not started: {self._error}"]


class SupervisedProcess:
    """A role of the run. It has a process, or waits for the next one, or has had its last one."""

    def __init__(
        self,
        name: str,
        index: int,
        start: Callable[[], processes.Running],
        timing: Timing,
        progress: Callable[[], float] = lambda: 0.0,
    ):
        """Starts nothing yet.

        Args:
          name: of the role.
          index: which of several processes with that role.
          start: starts the process.
          timing: when to start it again.
          progress: how far the role has come; asked when a process has died.
        """
        self.name = name
        self.label = context.label(name, index)
        self.vain_deaths = 0
        """Of processes that came no further than those before them."""
        self.is_finished = False
        """Whether the last process, which has ended, had nothing left to do."""
        self._start = start
        self._timing = timing
        self._progress = progress
        self._furthest = 0.0
        self._process: processes.Running | None = None
        self._due: float | None = time.monotonic()
        self._delay = timing.first_delay

    @property
    def is_running(self) -> bool:
        """Whether there is a process that is not known to have ended."""
        return self._process is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether too many processes in a row came no further than those before them."""
        return self.vain_deaths >= self._timing.max_vain_deaths

    @property
    def wait(self) -> float | None:
        """Seconds until the next process is started; None if one is running, or none will be."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def start_if_due(self) -> bool:
        """Starts the process if it is due; returns whether it was started.

        If it can't be, for lack of memory perhaps, it has ended: see `collect`.
        """
        if self._due is None or time.monotonic() < self._due:
            return False
        self._due = None
        self.is_finished = False
        try:
            self._process = self._start()
        except OSError as error:
            self._process = _NotStarted(error)
            return False
        return True

    def collect(self) -> End | None:
        """Returns how the process ended, once; the next one is then due after a delay."""
        exit_code = self._process.poll() if self._process else None
        if self._process is None or exit_code is None:
            return None
        end = End(exit_code, self._process.seconds, self._process.lines())
        self._process = None
        self.is_finished = exit_code == exit_codes.FINISHED
        self._due = time.monotonic() + self._next_delay(end)
        return end

    def _next_delay(self, end: End) -> float:
        timing = self._timing
        if end.exit_code == exit_codes.FINISHED:
            return timing.ended
        if end.seconds >= timing.healthy:
            self._delay = timing.first_delay
        self._count_death(end)
        delay, self._delay = self._delay, min(2 * self._delay, timing.max_delay)
        return delay

    def _count_death(self, end: End) -> None:
        """Counts it if the process has come no further than those before it."""
        progress = self._progress()
        if progress > self._furthest or end.seconds >= self._timing.steady:
            self._furthest = max(self._furthest, progress)
            self.vain_deaths = 0
        elif end.exit_code != exit_codes.HELD:  # which will end
            self.vain_deaths += 1

    def retire(self) -> None:
        """Makes the present process, if any, the last."""
        self._due = None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if there is one."""
        if self._process is not None:
            self._process.send(number)

    def kill(self) -> None:
        """Ends the process, and waits for its end."""
        self.retire()
        if self._process is not None:
            self._process.send(signal.SIGKILL)
            self._process.wait()
            self._process = None

"""A supervisor's regular status line about its run, from what the processes write."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from cluster import context
from cluster.supervision import status_line
from cluster.supervision.supervised_process import SupervisedProcess


class StatusReport:
    """A run's status lines.

    Attributes:
      restarts: how often a process was started again because it had died.
    """

    def __init__(
        self,
        run_dir: Path,
        processes: Sequence[SupervisedProcess],
        period_s: float,
        silent_s: float,
    ):
        """Shows nothing yet.

        Args:
          run_dir: the run's directory.
          processes: of all roles.
          period_s: between two lines.
          silent_s: a role that has not written its status for this long is marked.
        """
        self._run_dir = run_dir
        self._processes = processes
        self._period_s = period_s
        self._silent_s = silent_s
        self._next = 0.0
        # By label: the time in the last status read, and when it was new.
        self._heard: dict[str, tuple[object, float]] = {}
        self.restarts = 0

    def begin(self) -> None:
        """Deletes what an earlier run has left; the first line comes after a period."""
        for process in self._processes:
            self.forget(process)
        self._next = time.monotonic() + self._period_s

    def forget(self, process: SupervisedProcess) -> None:
        """Drops a role's status, which is not true of its next process."""
        self._heard.pop(process.label, None)
        # A shared file system that fails for a moment must not end the run.
        with contextlib.suppress(OSError):
            context.status_path(self._run_dir, process.label).unlink(missing_ok=True)

    def show_if_due(self) -> None:
        """Logs a line if one is due."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._period_s
        (learner,) = self._conditions("learner")
        others = [*self._conditions("replay"), *self._conditions("evaluator")]
        line = status_line.compose(learner, self._conditions("actor"), others, self.restarts)
        logging.info("%s", line)

    def _conditions(self, name: str) -> list[status_line.Condition]:
        return [self._condition(process) for process in self._processes if process.name == name]

    def _condition(self, process: SupervisedProcess) -> status_line.Condition:
        status = context.read_status(self._run_dir, process.label)
        return status_line.Condition(process.label, status, self._trouble(process, status))

    def _trouble(self, process: SupervisedProcess, status: dict[str, float | str]) -> str:
        if process.wait is not None:
            return f"down, again in {process.wait:.0f} s"
        if not process.is_running:
            return "ended"
        if not status:
            return "starting"
        # Not by the time itself: the clock is another machine's.
        told, since = status.get("time"), time.monotonic()
        last = self._heard.setdefault(process.label, (told, since))
        if last[0] != told:
            last = self._heard[process.label] = (told, since)
        silence = since - last[1]
        return f"silent for {silence:.0f} s" if silence > self._silent_s else ""

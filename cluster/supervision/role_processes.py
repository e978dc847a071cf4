"""The processes of a run's roles: kept alive, and ended in order."""

import csv
import datetime
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from cluster import context
from cluster.supervision import log_lines, status_report
from cluster.supervision.supervised_process import End, SupervisedProcess
from training.system import stopping

_RESTARTS = "restarts.csv"


class RoleProcesses:
    """Restarts processes, records their deaths, and ends them."""

    def __init__(
        self,
        run_dir: Path,
        processes: Sequence[SupervisedProcess],
        report: status_report.StatusReport,
        poll_s: float,
    ):
        """Starts nothing yet.

        Args:
          run_dir: gets the list of deaths.
          processes: of all roles.
          report: shown meanwhile.
          poll_s: between two polls of the processes.
        """
        self._run_dir = run_dir
        self._processes = processes
        self._report = report
        self._poll_s = poll_s

    def named(self, name: str) -> list[SupervisedProcess]:
        """A role's processes."""
        return [process for process in self._processes if process.name == name]

    def tend(self, process: SupervisedProcess) -> End | None:
        """Starts a role's process if it is due; returns how it ended, once."""
        if process.start_if_due():
            logging.info("%s: started", process.label)
        return process.collect()

    def note_end(self, process: SupervisedProcess, end: End) -> None:
        """Reports the end of a process that will be restarted, and counts deaths."""
        self._report.forget(process)
        what = f"{end} after {end.seconds:.0f} s: {log_lines.last(end.lines)}"
        logging.warning("%s: %s; again in %.0f s", process.label, what, process.wait or 0.0)
        if not process.is_finished:
            self._report.restarts += 1
            try:
                _append(self._run_dir / _RESTARTS, process.label, end)
            except OSError as error:  # a full disk must not end the run
                logging.warning("%s not written: %s", _RESTARTS, error)

    def pause(self) -> None:
        """Shows a line about the run if one is due, and waits for a moment."""
        self._report.show_if_due()
        time.sleep(self._poll_s)

    def wait_for(
        self,
        processes: Sequence[SupervisedProcess],
        idle_seconds: float,
        stop: stopping.StopRequest,
        kept: Sequence[SupervisedProcess],
    ) -> bool:
        """Keeps processes alive until they have finished; returns whether they have.

        Args:
          processes: those to wait for, unless they or the others die again and again.
          idle_seconds: how long to wait without a step that one of them has done, by its status.
          stop: a request not to wait.
          kept: those to keep alive meanwhile.
        """
        done, deadline = None, 0.0
        while left := [process for process in processes if not process.is_finished]:
            steps = [context.read_status(self._run_dir, x.label).get("steps") for x in left]
            if steps != done:
                done, deadline = steps, time.monotonic() + idle_seconds
            is_hopeless = any(process.is_hopeless for process in [*left, *kept])
            if stop.requested or is_hopeless or time.monotonic() > deadline:
                return False
            self._keep_alive([*processes, *kept])
        return True

    def end(
        self,
        processes: Sequence[SupervisedProcess],
        seconds: float,
        kill: stopping.StopRequest,
        kept: Sequence[SupervisedProcess] = (),
    ) -> None:
        """Asks processes to end, and kills those that have not after some seconds.

        Args:
          processes: those to end.
          seconds: how long to wait.
          kill: a request not to wait.
          kept: those to keep alive meanwhile.
        """
        deadline = time.monotonic() + seconds
        for process in processes:
            process.retire()
            process.send(signal.SIGTERM)
        while _running(processes) and time.monotonic() < deadline and not kill.requested:
            self._collect(processes)
            self._keep_alive(kept)
        for process in _running(processes):
            logging.warning("%s: killed, it has not ended by itself", process.label)
            process.kill()

    def kill_all(self) -> None:
        """Kills all processes."""
        for process in self._processes:
            process.kill()

    def _keep_alive(self, processes: Sequence[SupervisedProcess]) -> None:
        """Keeps processes alive, however they end; takes a moment."""
        for process in processes:
            end = self.tend(process)
            if end is not None and not process.is_finished:
                self.note_end(process, end)
        self.pause()

    def _collect(self, processes: Sequence[SupervisedProcess]) -> None:
        """Notes which of the processes being ended have ended."""
        for process in processes:
            end = process.collect()
            if end is not None:
                process.retire()
                logging.info("%s: %s", process.label, end)


def _running(processes: Sequence[SupervisedProcess]) -> list[SupervisedProcess]:
    return [process for process in processes if process.is_running]


def _append(path: Path, label: str, end: End) -> None:
    """Adds a row to the list of deaths."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if os.fstat(stream.fileno()).st_size == 0:
            writer.writerow(["time", "role", "exit_code", "seconds"])
        writer.writerow([now, label, end.exit_code, round(end.seconds, 1)])

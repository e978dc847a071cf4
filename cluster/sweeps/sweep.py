"""Works through the jobs of a sweep, several at once, each in a process of its own."""

import collections
import datetime
import math
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from cluster.supervision import log_lines, processes
from cluster.sweeps import sweep_jobs, sweep_record
from cluster.sweeps.sweep_jobs import Grid, Job
from cluster.sweeps.sweep_record import RunState
from core import checks, progress
from training.system import stopping

_POLL_SECONDS = 0.2
Start = Callable[[list[str], Path, Sequence[int]], processes.Running]

_PROGRESS = re.compile(r"([\d.]+) %  frame \d+ of \d+ ")


class Sweep:
    """Jobs, the processes of the running ones, and the record of all."""

    def __init__(
        self,
        root: Path,
        jobs: Sequence[Job],
        record: sweep_record.SweepRecord,
        stopped_code: int,
        command: Callable[[Job, Path], list[str]] = Job.command,
        start: Start = processes.Process,
    ):
        """Starts nothing yet.

        Args:
          root: the sweep's directory.
          jobs: those asked for; the finished ones are left alone.
          record: begun with these jobs.
          stopped_code: the exit code of a command that was stopped before its end.
          command: gives a job's command: an executable's path and arguments.
          start: starts it, here by default; gets the command, the log, and the worker's cores.
        """
        self._root = root
        self._jobs = jobs
        self._record = record
        self._stopped_code = stopped_code
        self._command = command
        self._start_process = start
        self._waiting = collections.deque(job for job in jobs if not record.is_finished(job))
        self._running: dict[int, tuple[Job, processes.Running]] = {}
        self._sent: signal.Signals | None = None
        # A bar on a terminal alone: elsewhere _report's lines say more.
        self._progress = progress.Progress(
            len(jobs), "run", len(jobs) - len(self._waiting), line_seconds=math.inf
        )

    def run(self, num_workers: int, report_seconds: float) -> list[RunState]:
        """Works until all jobs have ended, or until SIGINT or SIGTERM.

        The first signal is passed on as SIGTERM, so that every run saves a snapshot; a second one
        kills the runs.

        Args:
          num_workers: how many run at once; each has its share of the cores.
          report_seconds: between two reports of the running jobs' progress.

        Returns:
          The state of each job.
        """
        cores = processes.share_cores(sorted(os.sched_getaffinity(0)), num_workers)
        if len(self._waiting) < len(self._jobs):
            logging.info("%d jobs are finished already", len(self._jobs) - len(self._waiting))
        # The inner request takes the first signal, and gives way to the outer for the second.
        with stopping.StopRequest() as kill, stopping.StopRequest() as stop:
            try:
                self._work(cores, report_seconds, stop, kill)
            finally:
                self._end_all()
                self._progress.close()
        return self._record.states(self._jobs)

    def _work(
        self,
        cores: Sequence[Sequence[int]],
        report_seconds: float,
        stop: stopping.StopRequest,
        kill: stopping.StopRequest,
    ) -> None:
        next_report = time.monotonic() + report_seconds
        while self._running or (self._waiting and not stop.requested):
            if stop.requested:
                self._send(signal.SIGKILL if kill.requested else signal.SIGTERM)
            else:
                self._start(cores)
            self._collect()
            self._record.catch_up()
            if time.monotonic() >= next_report:
                self._report()
                next_report = time.monotonic() + report_seconds
            time.sleep(_POLL_SECONDS)

    def _start(self, cores: Sequence[Sequence[int]]) -> None:
        """Gives every idle worker the next waiting job."""
        for worker in range(len(cores)):
            if worker not in self._running and self._waiting:
                job = self._waiting.popleft()
                log = self._record.log(job)
                command = self._command(job, self._root)
                try:
                    process = self._start_process(command, log, cores[worker])
                except OSError as error:
                    self._waiting.appendleft(job)
                    self._wait_to_start(job, error)
                    return
                self._running[worker] = job, process
                self._record.started(job)
                self._say(RunState.RUNNING, job, str(log))

    def _wait_to_start(self, job: Job, error: OSError) -> None:
        """Raises ConfigError if no run is left whose end could help, on a full disk for example."""
        if not self._running:
            raise checks.ConfigError(f"{job}: can't be started: {error}") from error
        logging.log_every_n_seconds(logging.WARNING, "%s: not started: %s", 60, job, error)

    def _collect(self) -> None:
        """Notes which processes have ended, and how."""
        for worker, (job, process) in list(self._running.items()):
            exit_code = process.poll()
            if exit_code is not None:
                del self._running[worker]
                state = self._state_after(exit_code)
                self._record.ended(job, state, exit_code, process.seconds)
                self._progress.advance(self._num_ended())
                parts = [_duration(process.seconds)]
                if state == RunState.FAILED:
                    parts.append(f"exit code {exit_code}: {log_lines.last(process.lines())}")
                self._say(state, job, "  ".join(parts))

    def _state_after(self, exit_code: int) -> RunState:
        if exit_code == 0:
            return RunState.FINISHED
        # A run that has not reached its first frame can't stop cleanly.
        was_sent = self._sent is not None and exit_code in (-signal.SIGTERM, -signal.SIGKILL)
        return RunState.STOPPED if exit_code == self._stopped_code or was_sent else RunState.FAILED

    def _send(self, number: signal.Signals) -> None:
        """Sends a signal to all running jobs, each signal once: a second SIGTERM ends a run."""
        if number == self._sent:
            return
        self._sent = number
        logging.info("%s to %d running jobs", number.name, len(self._running))
        for _, process in self._running.values():
            process.send(number)

    def _end_all(self) -> None:
        """Kills all processes, after an error or a third signal."""
        if self._running:
            self._send(signal.SIGKILL)
            for _, process in self._running.values():
                process.wait()
            self._collect()

    def _report(self) -> None:
        """Says how far each running job is, and how long all of them take."""
        finished = [job for job in self._jobs if self._record.is_finished(job)]
        seconds = sum(map(self._record.seconds, finished))
        done = float(len(finished))
        for job, process in self._running.values():
            lines = process.lines()
            told = log_lines.last([line for line in lines if _PROGRESS.search(line)] or lines)
            self._say(RunState.RUNNING, job, f"{_duration(process.seconds)}  {told}")
            if found := _PROGRESS.search(told):
                done += float(found[1]) / 100
                seconds += self._record.seconds(job) + process.seconds
        if done and self._running:
            missing = len(finished) + len(self._running) + len(self._waiting) - done
            left = missing * seconds / done / len(self._running)
            self._progress.write(f"{self._count()}  about {progress.time_left(left)} left")

    def _count(self) -> str:
        return f"{self._num_ended()}/{len(self._jobs)}"

    def _num_ended(self) -> int:
        ended = (RunState.FINISHED, RunState.FAILED, RunState.STOPPED)
        return sum(state in ended for state in self._record.states(self._jobs))

    def _say(self, state: RunState, job: Job, text: str) -> None:
        self._progress.write(f"{self._count()}  {state:8}  {job}  {text}")


def run(
    grid: Grid,
    root: Path,
    num_workers: int,
    report_seconds: float,
    stopped_code: int,
    start: Start = processes.Process,
) -> list[RunState]:
    """Checks everything, then trains what is not yet finished; see `Sweep.run`.

    The same call continues a sweep that was stopped or killed. More configs, arguments and seeds
    may be asked for then.

    Raises:
      ConfigError: before anything is started, if a job can't be run, `root` holds something else,
        a sweep is at work there, or a job of the same name was begun by another command.
    """
    jobs = grid.jobs()
    sweep_jobs.verify(jobs, root, num_workers if start is processes.Process else 0)
    with sweep_record.claim(root):
        record = sweep_record.SweepRecord(root)
        record.begin(grid, jobs)
        sweep = Sweep(root, jobs, record, stopped_code, start=start)
        return sweep.run(num_workers, report_seconds)


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))

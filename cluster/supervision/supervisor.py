"""Keeps the processes of a distributed run alive, until its learner has finished."""

from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from cluster import context
from cluster.supervision import log_lines, processes, role_processes, status_report
from cluster.supervision.supervised_process import End, SupervisedProcess, Timing
from core import checks
from training.system import exit_codes, stopping

Start = Callable[[str, int, Sequence[str], Path], processes.Running]

_SHOWN_LINES = 20


def start_here(name: str, index: int, command: Sequence[str], log: Path) -> processes.Running:
    """Starts a role's command as a child of this process."""
    del name, index
    return processes.Process(command, log)


class Supervisor:
    """The roles of a run and their processes.

    A role that dies is restarted, after a growing delay. The run ends when the learner has
    finished, on SIGINT or SIGTERM, when a role refuses its input, or when one dies again and again
    without coming any further.
    """

    def __init__(
        self,
        roles: Sequence[tuple[str, int]],
        command: Callable[[str, int], list[str]],
        run_dir: Path,
        report_seconds: float,
        start: Start = start_here,
        timing: Timing | None = None,
    ):
        """Starts nothing yet.

        Args:
          roles: (name, index) of every process, in the order in which they are started; exactly
            one "learner", one "replay", one "actor" or more, and at most one "evaluator".
          command: gives a process's command: an executable's path and arguments.
          run_dir: the run's directory, which must exist.
          report_seconds: between two lines about the whole run.
          start: starts a role's command; gets its name and index, the command and the log.
          timing: how patient to be.
        """
        self._timing = timing or Timing()
        supervised = [
            SupervisedProcess(
                name,
                index,
                _starter(start, name, index, command, run_dir),
                self._timing,
                _progress(run_dir, name, index),
            )
            for name, index in roles
        ]
        self._report = status_report.StatusReport(
            run_dir, supervised, report_seconds, self._timing.silent
        )
        self._all = supervised
        self._processes = role_processes.RoleProcesses(
            run_dir, supervised, self._report, self._timing.poll
        )

    def run(self) -> int:
        """Works until the run has ended; no process is left then.

        The first SIGINT or SIGTERM ends the learner, which saves a snapshot, and then the others; a
        second one kills them all.

        Returns:
          0 if the run is finished, 1 if a role keeps dying or the last evaluation is missing, 3 if
          stopped by a signal.

        Raises:
          ConfigError: if a role refuses its input.
        """
        # The inner request takes the first signal, and gives way to the outer for the second.
        with (
            stopping.StopRequest("killing all processes") as kill,
            stopping.StopRequest("stopping all processes after a snapshot") as stop,
        ):
            try:
                return self._run(stop, kill)
            finally:
                self._processes.kill_all()

    def _run(self, stop: stopping.StopRequest, kill: stopping.StopRequest) -> int:
        self._report.begin()
        try:
            is_finished = self._keep_alive(stop)
        except (checks.ConfigError, _FailedError) as error:
            logging.error("%s", error)
            self._stop(kill)
            if isinstance(error, checks.ConfigError):
                raise
            return exit_codes.FAILED
        if is_finished:
            return self._finish(stop, kill)
        self._stop(kill)
        return exit_codes.STOPPED

    def _keep_alive(self, stop: stopping.StopRequest) -> bool:
        """Works until the learner is finished (True) or a stop is asked for (False).

        Raises:
          ConfigError: a role refuses its input.
          _FailedError: a role can't go on, or dies again and again.
        """
        while not stop.requested:
            for process in self._all:
                end = self._processes.tend(process)
                if process.name == "learner" and process.is_finished:
                    process.retire()
                    return True
                if end is not None:
                    self._judge(process, end)
                    self._processes.note_end(process, end)
            self._processes.pause()
        return False

    def _judge(self, process: SupervisedProcess, end: End) -> None:
        """Raises one of the errors of `_keep_alive` if the role must not be restarted."""
        if end.exit_code == exit_codes.NOT_FINITE:
            process.retire()
            raise _FailedError(f"{process.label}: {log_lines.error(end.lines)}")
        if end.exit_code == exit_codes.REFUSED:
            process.retire()
            raise checks.ConfigError(f"{process.label}: {log_lines.error(end.lines)}")
        if process.is_hopeless:
            process.retire()
            raise _FailedError(_describe_deaths(process, end))

    def _finish(self, stop: stopping.StopRequest, kill: stopping.StopRequest) -> int:
        """Ends the others after the learner; the evaluator after its last evaluation.

        Returns:
          The exit code.
        """
        exit_code = exit_codes.FINISHED
        found, timing = self._processes, self._timing
        replay, evaluator = found.named("replay"), found.named("evaluator")
        found.end(found.named("actor"), timing.grace, kill, [*replay, *evaluator])
        if not found.wait_for(evaluator, timing.evaluator, stop, replay):
            exit_code = exit_codes.STOPPED if stop.requested else exit_codes.FAILED
            logging.error("the last evaluation is missing; the same command does it")
        found.end(evaluator, timing.grace, kill, replay)
        found.end(replay, timing.grace, kill)
        return exit_code

    def _stop(self, kill: stopping.StopRequest) -> None:
        """Ends the learner, which needs the replay server for its snapshot, then the others."""
        found, timing = self._processes, self._timing
        replay = found.named("replay")
        found.end(found.named("learner"), timing.learner, kill, replay)
        others = [*found.named("actor"), *found.named("evaluator")]
        found.end(others, timing.grace, kill, replay)
        found.end(replay, timing.grace, kill)


class _FailedError(RuntimeError):
    """A role can't go on, or dies again and again."""


def _starter(
    start: Start, name: str, index: int, command: Callable[[str, int], list[str]], run_dir: Path
) -> Callable[[], processes.Running]:
    """A function that starts a role's process; logs in the run's directory."""
    log = run_dir / "logs" / f"{context.label(name, index)}.log"
    arguments = command(name, index)
    return lambda: start(name, index, arguments, log)


def _progress(run_dir: Path, name: str, index: int) -> Callable[[], float]:
    """A function that gives how far a role has come, by its status: its frames and updates.

    What a replay server has done for the run is in the learner's.
    """
    label = context.label("learner" if name == "replay" else name, index)

    def read() -> float:
        status = context.read_status(run_dir, label)
        return sum(float(status.get(count, 0)) for count in ("frames", "updates"))

    return read


def _describe_deaths(process: SupervisedProcess, end: End) -> str:
    shown = "".join(f"\n  {line}" for line in end.lines[-_SHOWN_LINES:])
    return (
        f"{process.label}: {end}; it has died {process.vain_deaths} times in a row without coming "
        f"any further. The end of its log:{shown}"
    )

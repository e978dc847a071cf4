"""Keeps the processes of a distributed run alive, until its learner has finished."""

import csv
import datetime
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from cluster import context
from cluster.supervision import log_lines, processes, status_line
from cluster.supervision.supervised_process import FINISHED, REFUSED, End, SupervisedProcess, Timing
from core import checks
from training.system import stopping

Start = Callable[[str, int, Sequence[str], Path], processes.Running]

FAILED, STOPPED = 1, 3
"""What `Supervisor.run` returns if a role keeps dying, and if the run was stopped."""

_SHOWN_LINES = 20
_RESTARTS = "restarts.csv"


def start_here(name: str, index: int, command: Sequence[str], log: Path) -> processes.Running:
    """Starts a role's command as a child of this process."""
    del name, index
    return processes.Process(command, log)


class Supervisor:
    """The roles of a run and their processes.

    A role that dies is started again, after a while that grows. The run ends when the learner has
    finished, on SIGINT or SIGTERM, when a role refuses its input, or when one dies again and again.
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
          command: what such a process is, as an executable's path and arguments.
          run_dir: the run's directory, which must exist.
          report_seconds: between two lines about the whole run.
          start: starts a role's command; gets its name and index, the command and the log.
          timing: how patient to be.
        """
        self._run_dir = run_dir
        self._report_seconds = report_seconds
        self._timing = timing or Timing()
        self._command = command
        self._start = start
        self._members = [self._member(name, index) for name, index in roles]
        self._restarts = 0
        # By label: the time in the status last read, and when that was new.
        self._heard: dict[str, tuple[object, float]] = {}
        self._next_report = 0.0

    def _member(self, name: str, index: int) -> SupervisedProcess:
        log = self._run_dir / "logs" / f"{context.label(name, index)}.log"
        command = self._command(name, index)
        return SupervisedProcess(
            name, index, lambda: self._start(name, index, command, log), self._timing
        )

    def run(self) -> int:
        """Works until the run has ended; no process is left then.

        The first SIGINT or SIGTERM ends the learner, which saves a snapshot, and then the others; a
        second one kills them all.

        Returns:
          0 if the run is finished, 1 if a role keeps dying, 3 if stopped by a signal.

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
                for member in self._members:
                    member.kill()

    def _run(self, stop: stopping.StopRequest, kill: stopping.StopRequest) -> int:
        for member in self._members:
            self._forget_status(member)
        self._next_report = time.monotonic() + self._report_seconds
        try:
            is_finished = self._keep_alive(stop)
        except (checks.ConfigError, _FailedError) as error:
            logging.error("%s", error)
            self._stop(kill)
            if isinstance(error, checks.ConfigError):
                raise
            return FAILED
        if is_finished:
            self._finish(stop, kill)
            return FINISHED
        self._stop(kill)
        return STOPPED

    def _keep_alive(self, stop: stopping.StopRequest) -> bool:
        """Works until the learner is finished (True) or a stop is asked for (False).

        Raises:
          ConfigError: a role refuses its input.
          _FailedError: a role can't go on, or dies again and again.
        """
        while not stop.requested:
            for member in self._members:
                end = self._tend(member)
                if member.name == "learner" and member.is_finished:
                    member.retire()
                    return True
                if end is not None:
                    self._judge(member, end)
                    self._note_end(member, end)
            self._report_if_due()
            time.sleep(self._timing.poll)
        return False

    @staticmethod
    def _tend(member: SupervisedProcess) -> End | None:
        """Starts a role's process when it is due; how it has ended, if that is news."""
        if member.start_if_due():
            logging.info("%s: started", member.label)
        return member.collect()

    def _note_end(self, member: SupervisedProcess, end: End) -> None:
        """Tells of the end of a process that will be followed by another, and counts deaths."""
        self._forget_status(member)
        what = f"{end} after {end.seconds:.0f} s: {log_lines.last(end.lines)}"
        logging.warning("%s: %s; again in %.0f s", member.label, what, member.wait or 0.0)
        if not member.is_finished:
            self._restarts += 1
            try:
                _append(self._run_dir / _RESTARTS, member.label, end)
            except OSError as error:  # a full disk must not end the run
                logging.warning("%s not written: %s", _RESTARTS, error)

    def _judge(self, member: SupervisedProcess, end: End) -> None:
        """Raises one of the errors of `_keep_alive` if the role is not to be started again."""
        if end.exit_code == context.NOT_FINITE:
            member.retire()
            raise _FailedError(f"{member.label}: {log_lines.error(end.lines)}")
        if end.exit_code == REFUSED:
            member.retire()
            raise checks.ConfigError(f"{member.label}: {log_lines.error(end.lines)}")
        if member.quick_deaths >= self._timing.max_quick_deaths:
            member.retire()
            raise _FailedError(_describe_deaths(member, end, self._timing))

    def _finish(self, stop: stopping.StopRequest, kill: stopping.StopRequest) -> None:
        """Ends the others after the learner; the evaluator does so after its last evaluation."""
        replay, evaluator = self._named("replay"), self._named("evaluator")
        self._end(self._named("actor"), self._timing.grace, kill, [*replay, *evaluator])
        self._wait_for(evaluator, self._timing.evaluator, stop, replay)
        self._end(evaluator, self._timing.grace, kill, replay)
        self._end(replay, self._timing.grace, kill)

    def _wait_for(
        self,
        members: Sequence[SupervisedProcess],
        seconds: float,
        stop: stopping.StopRequest,
        kept: Sequence[SupervisedProcess],
    ) -> None:
        """Keeps processes alive until they have finished, for some seconds at most.

        Args:
          members: whose processes.
          seconds: that they have for it.
          stop: a request not to wait.
          kept: are kept alive meanwhile.
        """
        deadline = time.monotonic() + seconds
        while any(not member.is_finished for member in members):
            if stop.requested or time.monotonic() > deadline:
                logging.warning("the last evaluation is missing: it was not waited for")
                return
            self._tend_all([*members, *kept])

    def _stop(self, kill: stopping.StopRequest) -> None:
        """Ends the learner, which needs the replay server for its snapshot, then the others."""
        replay = self._named("replay")
        self._end(self._named("learner"), self._timing.learner, kill, replay)
        others = [*self._named("actor"), *self._named("evaluator")]
        self._end(others, self._timing.grace, kill, replay)
        self._end(replay, self._timing.grace, kill)

    def _end(
        self,
        members: Sequence[SupervisedProcess],
        seconds: float,
        kill: stopping.StopRequest,
        kept: Sequence[SupervisedProcess] = (),
    ) -> None:
        """Asks processes to end, and kills those that have not after some seconds.

        Args:
          members: whose processes.
          seconds: that they have for it.
          kill: a request not to wait.
          kept: are kept alive meanwhile.
        """
        deadline = time.monotonic() + seconds
        for member in members:
            member.retire()
            member.send(signal.SIGTERM)
        while _running(members) and time.monotonic() < deadline and not kill.requested:
            self._collect(members)
            self._tend_all(kept)
        for member in _running(members):
            logging.warning("%s: killed, it has not ended by itself", member.label)
            member.kill()

    def _tend_all(self, members: Sequence[SupervisedProcess]) -> None:
        """Keeps processes alive, whatever befalls them, and reports; takes a moment."""
        for member in members:
            end = self._tend(member)
            if end is not None and not member.is_finished:
                self._note_end(member, end)
        self._report_if_due()
        time.sleep(self._timing.poll)

    def _collect(self, members: Sequence[SupervisedProcess]) -> None:
        """Notes which of those that shall end have."""
        for member in members:
            end = member.collect()
            if end is not None:
                member.retire()
                logging.info("%s: %s", member.label, end)

    def _named(self, name: str) -> list[SupervisedProcess]:
        return [member for member in self._members if member.name == name]

    def _report_if_due(self) -> None:
        if time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + self._report_seconds
        (learner,) = (self._condition(member) for member in self._named("learner"))
        actors = [self._condition(member) for member in self._named("actor")]
        others = [
            self._condition(member)
            for member in (*self._named("replay"), *self._named("evaluator"))
        ]
        logging.info("%s", status_line.compose(learner, actors, others, self._restarts))

    def _condition(self, member: SupervisedProcess) -> status_line.Condition:
        status = context.read_status(self._run_dir, member.label)
        return status_line.Condition(member.label, status, self._trouble(member, status))

    def _trouble(self, member: SupervisedProcess, status: dict[str, float | str]) -> str:
        if member.wait is not None:
            return f"down, again in {member.wait:.0f} s"
        if not member.is_running:
            return "ended"
        if not status:
            return "starting"
        # Not by the time itself: it is another machine's.
        told, since = status.get("time"), time.monotonic()
        last = self._heard.setdefault(member.label, (told, since))
        if last[0] != told:
            last = self._heard[member.label] = (told, since)
        silence = since - last[1]
        return f"silent for {silence:.0f} s" if silence > self._timing.silent else ""

    def _forget_status(self, member: SupervisedProcess) -> None:
        """What a role has told of itself is not true of the next process."""
        self._heard.pop(member.label, None)
        context.status_path(self._run_dir, member.label).unlink(missing_ok=True)


class _FailedError(RuntimeError):
    """A role can't go on, or dies again and again."""


def _running(members: Sequence[SupervisedProcess]) -> list[SupervisedProcess]:
    return [member for member in members if member.is_running]


def _describe_deaths(member: SupervisedProcess, end: End, timing: Timing) -> str:
    shown = "".join(f"\n  {line}" for line in end.lines[-_SHOWN_LINES:])
    return (
        f"{member.label}: {end}; it has died {member.quick_deaths} times in a row, each within "
        f"{timing.quick:.0f} s of its start. The end of its log:{shown}"
    )


def _append(path: Path, label: str, end: End) -> None:
    """Adds a row to the list of deaths."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if os.fstat(stream.fileno()).st_size == 0:
            writer.writerow(["time", "role", "exit_code", "seconds"])
        writer.writerow([now, label, end.exit_code, round(end.seconds, 1)])

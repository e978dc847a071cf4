"""The directory of a sweep: whose it is, and the file that says how far each job has come."""

import contextlib
import dataclasses
import enum
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from cluster.sweeps import sweep_jobs
from cluster.sweeps.sweep_jobs import Grid, Job
from core import checks, durable_files, locks

_RECORD = "sweep.json"
_LOCK = "sweep.lock"
# What a sweep leaves if killed before its record was complete.
_OF_A_BEGINNING = {_LOCK, _RECORD + ".tmp"}


class RunState(enum.StrEnum):
    """How far a job has come; all but `FINISHED` are started again by the next sweep."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@contextlib.contextmanager
def claim(root: Path) -> Iterator[None]:
    """Makes the sweep's directory, and keeps other sweeps away from it while in use.

    Raises:
      ConfigError: if it holds other files than a sweep's, or a sweep is at work there.
    """
    if root.exists() and not root.is_dir():
        raise checks.ConfigError(f"root = {str(root)!r}: not a directory")
    is_new = not (root / _RECORD).exists()
    if is_new and root.exists() and {path.name for path in root.iterdir()} - _OF_A_BEGINNING:
        raise checks.ConfigError(f"root = {str(root)!r}: not empty, and holds no sweep")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise checks.ConfigError(f"root = {str(root)!r}: not usable: {error}") from error
    with locks.hold(root / _LOCK, f"root = {str(root)!r}: a sweep is at work there"):
        yield


class SweepRecord:
    """`sweep.json`: the sweep last asked for, and every job there ever was with its state.

    Of each job: the fields of `Job`; its state; its last exit code; how often it was started, and
    the seconds it ran in all.
    """

    def __init__(self, root: Path):
        """Reads the file, if there is one already.

        Raises:
          ConfigError: if it is damaged.
        """
        self._root = root
        self._path = root / _RECORD
        self._asked: dict[str, Any] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._is_behind = False
        if self._path.exists():
            try:
                self._asked, self._jobs = _parse(self._path.read_text(encoding="utf-8"))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise checks.ConfigError(f"{self._path}: damaged, no record of a sweep") from error

    def begin(self, grid: Grid, jobs: Sequence[Job]) -> None:
        """Adds the new jobs, and marks all unfinished ones as waiting.

        Raises:
          ConfigError: if one was begun with another config file or other overrides.
        """
        for job in jobs:
            self._check_same(job)
        # If the previous sweep was killed, so were its runs.
        for entry in self._jobs.values():
            if entry["state"] == RunState.RUNNING:
                entry["state"] = RunState.STOPPED
        for job in jobs:
            entry = self._jobs.setdefault(job.name, self._new(job))
            if not self.is_finished(job):
                entry["state"] = RunState.WAITING
        self._asked = dataclasses.asdict(grid)
        self._write()

    @staticmethod
    def _new(job: Job) -> dict[str, Any]:
        progress = {"state": RunState.WAITING, "exit_code": None, "starts": 0, "seconds": 0.0}
        return {**dataclasses.asdict(job), **progress}

    def _check_same(self, job: Job) -> None:
        """Raises ConfigError for the first difference from the recorded job of this name."""
        if job.name not in self._jobs:
            return
        found = self._jobs[job.name]
        saved, wanted = _settings(found), _settings(dataclasses.asdict(job))
        for key in itertools.chain(saved, wanted):
            if saved.get(key) != wanted.get(key):
                raise checks.ConfigError(
                    f"root = {str(self._root)!r}: job {job.name} was begun by another command: "
                    f"{key} is {saved.get(key, 'not given')} there, asked for "
                    f"{wanted.get(key, 'nothing')}"
                )

    def is_finished(self, job: Job) -> bool:
        """Whether it is, and its files are still there."""
        is_finished = self._jobs[job.name]["state"] == RunState.FINISHED
        return is_finished and (self._root / job.name).is_dir()

    def has_ended(self, job: Job) -> bool:
        """Whether it is finished or has failed; not if it was never begun."""
        entry = self._jobs.get(job.name)
        return entry is not None and entry["state"] in (RunState.FINISHED, RunState.FAILED)

    def failed_with(self, job: Job) -> int | None:
        """The exit code of a job that has failed, else None."""
        entry = self._jobs[job.name]
        return entry["exit_code"] if entry["state"] == RunState.FAILED else None

    def log(self, job: Job) -> Path:
        """What the job's run says."""
        return self._root / f"{job.name}.log"

    def started(self, job: Job) -> None:
        """Notes that a job runs now."""
        entry = self._jobs[job.name]
        entry.update(state=RunState.RUNNING, exit_code=None, starts=entry["starts"] + 1)
        self._try_to_write()

    def ended(self, job: Job, state: RunState, exit_code: int, seconds: float) -> None:
        """Notes how a job ended, `seconds` after its last start."""
        entry = self._jobs[job.name]
        entry.update(state=state, exit_code=exit_code, seconds=round(entry["seconds"] + seconds, 1))
        self._try_to_write()

    def states(self, jobs: Sequence[Job]) -> list[RunState]:
        """The present state of each job."""
        return [RunState(self._jobs[job.name]["state"]) for job in jobs]

    def seconds(self, job: Job) -> float:
        """That the job ran in all, up to its last end."""
        return self._jobs[job.name]["seconds"]

    def catch_up(self) -> None:
        """Writes what could not be written before, if anything."""
        if self._is_behind:
            self._try_to_write()

    def _try_to_write(self) -> None:
        """Writes, or says why not: a full disk must not end the runs, which have their own."""
        try:
            self._write()
            self._is_behind = False
        except OSError as error:
            self._is_behind = True
            logging.log_every_n_seconds(logging.WARNING, "%s: %s", 60, self._path, error)

    def _write(self) -> None:
        contents = {"asked": self._asked, "jobs": self._jobs}
        durable_files.replace_text(self._path, json.dumps(contents, indent=1) + "\n")


def _settings(entry: Mapping[str, Any]) -> dict[str, str]:
    """What a job's name leaves open, by flag; the order of overrides is ignored."""
    return {"--config": entry["config"], **dict(map(sweep_jobs.split, entry["overrides"]))}


def _parse(text: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What was asked for and the jobs; raises one of several errors if parts are missing."""
    contents = json.loads(text)
    for entry in contents["jobs"].values():
        _settings(entry)
        for key, kind in (("state", RunState), ("starts", int), ("seconds", float)):
            kind(entry[key])
    return contents["asked"], contents["jobs"]

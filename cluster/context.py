"""What the roles of a distributed run share: its directory, and their status files."""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_collections
from absl import logging

from cluster import distributed_settings
from core import finite
from replay.reverb import connection, wire
from training import run_settings
from training.system import exit_codes

ROLES = ("replay", "learner", "evaluator", "actor")

REPLAY_PYTHON = Path(__file__).parents[1] / ".venv-replay/bin/python"
"""The interpreter that `make replay-env` makes in a checkout."""


@dataclasses.dataclass(frozen=True)
class Role:
    """One process of a distributed run.

    Attributes:
      name: one of ROLES.
      config: of the run, resolved.
      run_dir: the run's directory, which all roles see.
      num_actors: how many actors the run has.
      index: which of several processes with the same role, from 0.
      host: the name or address by which other machines reach this one; "localhost": none do.
      port: of the replay server; 0: any that is free.
      replay_python: the interpreter of the replay server's environment.
    """

    name: str
    config: ml_collections.ConfigDict
    run_dir: Path
    num_actors: int
    index: int = 0
    host: str = "localhost"
    port: int = 0
    replay_python: Path = REPLAY_PYTHON

    @functools.cached_property
    def _parsed(self) -> tuple[run_settings.RunSettings, distributed_settings.DistributedSettings]:
        return distributed_settings.parse(self.config, self.num_actors)

    @property
    def settings(self) -> run_settings.RunSettings:
        """The run's settings."""
        return self._parsed[0]

    @property
    def num_frames(self) -> int:
        """The run's frames."""
        assert self.settings.num_frames is not None, "resolved"
        return self.settings.num_frames

    @property
    def distributed(self) -> distributed_settings.DistributedSettings:
        """The section `distributed`."""
        return self._parsed[1]

    @property
    def label(self) -> str:
        """The name, with the index where there may be several: "learner", "actor_3"."""
        return label(self.name, self.index)

    @property
    def address_file(self) -> Path:
        """Holds the replay server's "host:port"; replaced whenever it starts."""
        return self.run_dir / "replay" / "address"

    @property
    def checkpoint_dir(self) -> Path:
        """Holds the replay server's checkpoints, and nothing else."""
        return self.run_dir / "replay" / "checkpoints"

    @property
    def journal_dir(self) -> Path:
        """The actor's journal, kept in case it or the server is killed."""
        return self.run_dir / "actors" / str(self.index)

    def connect(self, stop: Callable[[], bool]) -> wire.Client:
        """A client of the replay server, once it is up; see replay.reverb.connection.connect."""
        return connection.connect(self.address_file, stop, self.label)

    def absent_journal_dirs(self) -> list[Path]:
        """This actor's share of the journals of actors with an index beyond this run's.

        They exist if the run has had more actors before.
        """
        found = [p for p in self.journal_dir.parent.glob("*") if p.name.isdecimal()]
        return sorted(
            path
            for path in found
            if int(path.name) >= self.num_actors and int(path.name) % self.num_actors == self.index
        )

    def write_status(self, numbers: Mapping[str, float | str]) -> None:
        """Writes this process's status; see `read_status`."""
        path = status_path(self.run_dir, self.label)
        temporary = path.with_suffix(".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not flushed to the disk: after a crash of the machine it is of no use.
            temporary.write_text(json.dumps({"time": time.time(), **numbers}))
            temporary.replace(path)
        except OSError as error:  # a full disk must not end the process
            logging.log_every_n_seconds(logging.WARNING, "status not written: %s", 60, error)


def report_not_finite(error: finite.NotFiniteError) -> int:
    """Tells the supervisor, and the user, why the run can't go on; returns the exit code."""
    print(f"error: {error}", file=sys.stderr)
    return exit_codes.NOT_FINITE


def label(name: str, index: int) -> str:
    """The name of a role's process in file names and messages."""
    return f"{name}_{index}" if name == "actor" else name


def status_path(run_dir: Path, process: str) -> Path:
    """The status file of the process with a label."""
    return run_dir / "status" / f"{process}.json"


def read_status(run_dir: Path, process: str) -> dict[str, float | str]:
    """The last status of a process; empty if there is none, or it is incomplete.

    "time" is when, in seconds since the epoch; the other keys are the role's own.
    """
    try:
        return json.loads(status_path(run_dir, process).read_text())
    except (OSError, ValueError):
        return {}

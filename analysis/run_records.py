"""What runs wrote to their directories, for figures and comparisons."""

import copy
import csv
import functools
import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from core import checks, durable_files
from envs import base as envs_base

_TABLES = ("train", "episodes", "evaluation", "layers", "units", "ranks", "network")

# Columns that may look like numbers but are not: probes are called 1, 2, ...
_TEXT = ("game", "layer")

Columns = dict[str, np.ndarray]


class Evaluation(NamedTuple):
    """A row of evaluation.csv: the mean return of one seed on one game, at one moment.

    Attributes:
      frames: of training so far.
      task: number of the game the run was in; 0 if it has only one.
      game: the one played, not always the one the run was in.
      seed: of the agent.
      mean_return: unnormalized, over the episodes.
      episodes: how many.
    """

    frames: int
    task: int
    game: str
    seed: int
    mean_return: float
    episodes: int


class RunRecord(NamedTuple):
    """A run's configuration and numbers.

    Attributes:
      path: its directory.
      config: as plain values; keys that follow others have their values in the newest start.
      tables: columns of each CSV file by its name; empty ones for missing files.
      starts: a record of commit, hardware and versions for each start of the run.
      left: of a branch: `run_dir` that it left, at which `frames`, and its `changes` by key.
    """

    path: Path
    config: Mapping[str, Any]
    tables: Mapping[str, Columns]
    starts: Sequence[Mapping[str, Any]]
    left: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The configuration's."""
        return self.config["name"]

    @property
    def games(self) -> tuple[str, ...]:
        """The games of a sequence in their order, or the one game, id or probe."""
        tasks = envs_base.tasks(self._environment)
        return tuple(envs_base.task_name(task) for task in tasks)

    @property
    def is_sequence(self) -> bool:
        """Whether it goes through several games."""
        return envs_base.is_sequence(self._environment)

    @property
    def frames_per_task(self) -> int:
        """Of one seed in each task of a sequence; 0 where there is only one."""
        return envs_base.frames_per_task(self._environment)

    @property
    def _environment(self) -> envs_base.Settings:
        return envs_base.parse_recorded(self.config["environment"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds trained together."""
        return tuple(self.config["seed"] + k for k in range(self.config["num_seeds"]))

    @property
    def frames(self) -> int:
        """How many it had learned from when it last logged."""
        frames = self.tables["train"].get("frames", np.zeros(1))
        return int(frames.max(initial=0))

    @property
    def seconds(self) -> float:
        """Of all starts together: in older runs the clock of train.csv begins anew at each."""
        elapsed = self.tables["train"].get("elapsed_seconds", np.zeros(0))
        ends = np.append(np.diff(elapsed) < 0, True) if len(elapsed) else np.zeros(0, bool)
        return float(elapsed[ends].sum())

    @property
    def is_finished(self) -> bool:
        """Whether it had learned from all its frames then."""
        return self.frames >= self.config["num_frames"]

    def evaluations(self) -> Iterator[Evaluation]:
        """The rows of evaluation.csv, in order of frames."""
        table = self.tables["evaluation"]
        for i in range(len(table.get("frames", ()))):
            yield Evaluation(
                frames=int(table["frames"][i]),
                task=int(table["task"][i]) if "task" in table else 0,
                game=str(table["game"][i]) if "game" in table else self.games[0],
                seed=int(table["seed"][i]),
                mean_return=float(table["mean_return"][i]),
                episodes=int(table["episodes"][i]),
            )

    def last_evaluations(self) -> dict[tuple[str, int], Evaluation]:
        """The last evaluation of each game and seed."""
        return {(row.game, row.seed): row for row in self.evaluations()}


def load(path: Path) -> RunRecord:
    """Reads a run's directory.

    Raises:
      ConfigError: if there is no run, its configuration can't be read, or it has not logged yet.
    """
    if not (path / "config.json").exists():
        raise checks.ConfigError(f"{path}: expected the directory of a run")
    try:
        config = json.loads((path / "config.json").read_text())
    except ValueError as error:
        raise checks.ConfigError(f"{path / 'config.json'}: damaged ({error})") from error
    if not isinstance(config, dict) or not {"name", "environment"} <= config.keys():
        raise checks.ConfigError(f"{path / 'config.json'}: expected the configuration of a run")
    tables = {name: read_table(path / f"{name}.csv") for name in _TABLES}
    if not tables["train"]:
        raise checks.ConfigError(f"{path}: the run has not logged anything yet")
    starts = read_starts(path / "provenance.jsonl")
    config = _resolve(config, next((s["resolved"] for s in starts[::-1] if "resolved" in s), {}))
    if config["num_frames"] is None:
        raise checks.ConfigError(f"{path / 'provenance.jsonl'}: does not tell the run's num_frames")
    return RunRecord(path, config, tables, starts, _read_branch(path / "branch.json"))


def _read_branch(path: Path) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise checks.ConfigError(f"{path}: damaged ({error})") from error
    if not isinstance(found, dict) or not {"run_dir", "frames", "changes"} <= found.keys():
        raise checks.ConfigError(f"{path}: expected run_dir, frames and changes of a branch")
    return found


def _resolve(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with unset keys filled in, by path."""
    resolved = copy.deepcopy(dict(config))
    for key, value in values.items():
        *sections, name = key.split(".")
        section = functools.reduce(operator.getitem, sections, resolved)
        if section[name] is None:
            section[name] = value
    return resolved


def find(paths: Sequence[Path]) -> list[RunRecord]:
    """Loads the runs in or below the given directories; those without a row are skipped.

    Raises:
      ConfigError: as `load`, if one of the directories holds no run, or if none is left.
    """
    directories = find_directories(paths)
    begun = [path for path in directories if read_table(path / "train.csv")]
    for path in directories:
        if path not in begun:
            logging.warning("%s: the run has not logged anything yet, left out", path)
    if not begun:
        raise checks.ConfigError(f"{paths[0]}: no run there has logged anything yet")
    return [load(directory) for directory in begun]


def commits(runs: Iterable[RunRecord]) -> dict[str, Path]:
    """The commits that runs were started at, each with the first run that was."""
    found: dict[str, Path] = {}
    for run in runs:
        for start in run.starts:
            found.setdefault(str(start.get("commit")), run.path)
    return found


def list_commits(found: Mapping[str, Path]) -> str:
    """The result of `commits` in one line."""
    return ", ".join(f"{commit[:9]} ({path})" for commit, path in found.items())


def check_one_commit(runs: Sequence[RunRecord]) -> None:
    """Raises ConfigError for runs of several commits; warns of changes that no commit has."""
    for run in runs:
        if any(start.get("uncommitted_changes") for start in run.starts):
            logging.warning("%s: was run with uncommitted changes", run.path)
    found = commits(runs)
    if len(found) > 1:
        raise checks.ConfigError(
            f"runs of several commits, {list_commits(found)}: expected runs of one"
        )


def find_directories(paths: Sequence[Path]) -> list[Path]:
    """The run directories in or below the given ones, in their order, then by name; each once.

    Raises:
      ConfigError: if one of them holds no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        directories = sorted(config.parent for config in path.rglob("config.json"))
        if not directories:
            raise checks.ConfigError(f"{path}: expected a directory with runs in or below it")
        for directory in directories:
            found.setdefault(directory.resolve(), directory)
    return list(found.values())


def read_table(path: Path) -> Columns:
    """A CSV file as columns, numbers where all values are; {} if the file does not exist.

    Incomplete rows (the run goes on, or was killed) are left out.
    """
    if not path.exists():
        return {}
    header, *rows = list(csv.reader(durable_files.whole_lines(path))) or [[]]
    rows = [row for row in rows if len(row) == len(header)]
    columns = zip(*rows) if rows else ([] for _ in header)
    return {
        name: np.array(values) if name in _TEXT else _to_array(values)
        for name, values in zip(header, columns)
    }


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows with the same keys as a CSV file; an empty file if there are none."""
    listed = list(rows)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(listed[0]) if listed else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def _to_array(values: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        return np.array(values)


def read_starts(path: Path) -> list[Mapping[str, Any]]:
    """The records in a provenance.jsonl, one for each start of the run."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:  # the line that a killed run was writing
            continue
    return records

"""What an experiment leaves: every seed's scores, and where each run comes from.

A directory with `scores.csv` (quantity, arm, seed, position, score), `runs.csv` (commit, hardware
and duration of each run) and `configs/ARM.json` (without seeds); where rates were chosen also
`tuning.csv` (arm, rate, seed, merit). Rules read the scores; the rest says how to have them again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from analysis import run_records
from core import checks

Scores = Mapping[str, Mapping[int, np.ndarray]]
"""Of a quantity: by arm and seed, the score at each position [P]."""


class NotMeasuredError(Exception):
    """The runs have no scores of a quantity, as they are older than what speaks of it."""


class Quantities(dict[str, Scores]):
    """By name; NotMeasuredError for one that there is not."""

    def __missing__(self, quantity: str) -> Scores:
        raise NotMeasuredError(quantity)


class Evidence(NamedTuple):
    """Of one experiment.

    Attributes:
      scores: by quantity.
      positions: [P], tasks counted from 0, or frames.
      hours: of all runs together, each on its own share of the machine.
      commit: of all runs.
      hardware: the same.
      is_full: whether it is of the protocol's size, and of code that is all in that commit.
    """

    scores: Quantities
    positions: np.ndarray
    hours: float
    commit: str
    hardware: str
    is_full: bool


def write(
    directory: Path,
    runs: Sequence[run_records.RunRecord],
    scores: Mapping[str, Scores],
    positions: Sequence[int],
    is_full: bool,
) -> None:
    """Writes the evidence of runs that `run_records.check_one_commit` accepts; replaces older.

    A seed that some arms have and others have not gets scores of nan there: that run failed.
    """
    run_records.check_one_commit(runs)
    directory.mkdir(parents=True, exist_ok=True)
    run_records.write_table(directory / "scores.csv", _score_rows(scores, positions))
    run_records.write_table(
        directory / "runs.csv", [row for run in runs for row in _run_rows(run, is_full)]
    )
    (directory / "configs").mkdir(exist_ok=True)
    for run in {run.name: run for run in runs}.values():
        config = {k: v for k, v in run.config.items() if k not in ("seed", "num_seeds")}
        text = json.dumps(config, indent=1, sort_keys=True)
        (directory / "configs" / f"{run.name}.json").write_text(text + "\n")


def write_tuning(directory: Path, merits: Mapping[str, Mapping[str, Mapping[int, float]]]) -> None:
    """Writes how good runs were by which rates were chosen, by arm, rate and seed; nan: failed."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [
        {"arm": arm, "rate": rate, "seed": seed, "merit": f"{merit:.7g}"}
        for arm, rates in merits.items()
        for rate, by_seed in rates.items()
        for seed, merit in by_seed.items()
    ]
    run_records.write_table(directory / "tuning.csv", rows)


def read(directory: Path) -> Evidence | None:
    """The evidence in a directory; None if it has none.

    Raises:
      ConfigError: if a seed lacks some of the positions, or runs are of several commits.
    """
    table = run_records.read_table(directory / "scores.csv")
    if not table:
        return None
    positions = np.unique(table["position"]).astype(int)
    scores: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    by_row: dict[tuple[str, str, int], list[int]] = {}
    for row, key in enumerate(zip(table["quantity"], table["arm"], table["seed"].astype(int))):
        by_row.setdefault(key, []).append(row)
    for (quantity, arm, seed), rows in by_row.items():
        if not np.array_equal(table["position"][rows], positions):
            raise checks.ConfigError(
                f"{directory / 'scores.csv'}: {quantity} of seed {seed} of {arm}: expected the "
                f"{len(positions)} positions of the others, in their order"
            )
        of_arms = scores.setdefault(str(quantity), {})
        of_arms.setdefault(str(arm), {})[int(seed)] = table["score"][rows]
    runs = run_records.read_table(directory / "runs.csv")
    commits = np.unique(runs["commit"])
    if len(commits) > 1:
        raise checks.ConfigError(
            f"{directory / 'runs.csv'}: runs of commits {', '.join(commits)}: expected one"
        )
    hardware = f"{runs['processor'][0]}, {_cores(runs['cores'][0])}, {runs['device'][0]}"
    hours = float(runs["elapsed_seconds"].sum()) / 3600
    is_full = set(runs["size"]) == {"full"} and set(runs["uncommitted_changes"]) == {"False"}
    return Evidence(Quantities(scores), positions, hours, str(commits[0]), hardware, is_full)


def _cores(number: float) -> str:
    return f"{number:.0f} core{'s' if number > 1 else ''}"


def _score_rows(scores: Mapping[str, Scores], positions: Sequence[int]) -> Iterable[dict[str, Any]]:
    failed = np.full(len(positions), np.nan)
    for quantity, arms in scores.items():
        seeds = sorted({seed for by_seed in arms.values() for seed in by_seed})
        for arm, by_seed in arms.items():
            for seed in seeds:
                if seed not in by_seed:
                    logging.warning("seed %d of %s failed: it has no %s", seed, arm, quantity)
                key = {"quantity": quantity, "arm": arm, "seed": seed}
                values = by_seed.get(seed, failed)
                for position, score in zip(positions, values, strict=True):
                    yield {**key, "position": position, "score": f"{score:.7g}"}


def _run_rows(run: run_records.RunRecord, is_full: bool) -> Iterable[dict[str, Any]]:
    start = run.starts[-1]
    seconds = run.seconds / len(run.seeds)
    for seed in run.seeds:
        yield {
            "arm": run.name,
            "seed": seed,
            "frames": run.frames,
            "size": "full" if is_full else "small",
            "commit": start["commit"],
            "uncommitted_changes": any(s.get("uncommitted_changes") for s in run.starts),
            "processor": start["processor"],
            "cores": start["cores"],
            "device": start["device"],
            "elapsed_seconds": f"{seconds:.1f}",
        }

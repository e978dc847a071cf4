"""Branches of runs (scripts.branch) beside the runs that they left, pair by pair.

A branch and its run are the same until they part, so that their difference is free of the variance
between seeds up to there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis import comparison, run_records, statistics
from core import checks


class Pair(NamedTuple):
    """A branch and the run it left.

    Attributes:
      label: what the branch changes.
      frames: at which it left.
      run: that went on untouched.
      branch: see above.
    """

    label: str
    frames: int
    run: run_records.RunRecord
    branch: run_records.RunRecord

    @property
    def end(self) -> int:
        """The last frame that both have learned from."""
        return min(self.run.frames, self.branch.frames)


class Difference(NamedTuple):
    """A score of branches of one kind beside that of their runs, over all pairs and seeds.

    Attributes:
      run: the mean of the runs' scores.
      branch: of the branches'.
      value: mean difference, with the bounds of its 95 % interval, which resamples pairs.
      unpaired: the bounds as they are if runs and branches are resampled apart.
      pairs: how many pairs of seeds; the bounds of one pair say nothing.
    """

    run: float
    branch: float
    value: float
    low: float
    high: float
    unpaired: tuple[float, float]
    pairs: int


def find(runs: Sequence[run_records.RunRecord]) -> tuple[list[Pair], list[str]]:
    """The branches among the runs with what they left, and notes on those whose run is gone."""
    by_path: dict[Path, run_records.RunRecord] = {run.path.resolve(): run for run in runs}
    pairs, notes = [], []
    for branch in runs:
        if branch.left is None:
            continue
        path = Path(branch.left["run_dir"])
        try:
            run = by_path.get(path.resolve()) or run_records.load(path)
        except checks.ConfigError as error:
            notes.append(f"{branch.path}: the run that it left is not there ({error})")
            continue
        by_path[path.resolve()] = run
        pairs.append(Pair(describe(branch.left["changes"]), branch.left["frames"], run, branch))
    return pairs, notes


def group(pairs: Sequence[Pair]) -> dict[tuple[str, int, str], list[Pair]]:
    """Pairs by the run's name and games, the frame at which they part, and the change.

    Raises:
      ConfigError: if runs or branches of a group are not alike, or a game and seed occurs twice.
    """
    groups: dict[tuple[str, int, str], list[Pair]] = {}
    for pair in pairs:
        place = f"{pair.run.name}, {', '.join(pair.run.games)}"
        groups.setdefault((place, pair.frames, pair.label), []).append(pair)
    for same in groups.values():
        comparison.check_alike([pair.branch for pair in same])
        comparison.check_alike([pair.run for pair in same])
    return groups


def describe(changes: Mapping[str, Any]) -> str:
    """What a branch changes, in a line."""
    parts = []
    for key, value in changes.items():
        if key == "interventions":
            value = ", ".join(map(_describe_item, value or ())) or "none"
        parts.append(f"{key}: {value}")
    return "; ".join(parts) or "unchanged"


def _describe_item(item: Mapping[str, Any]) -> str:
    """An intervention with its keys, such as redo(rate=0.1)."""
    keys = ", ".join(f"{key}={value}" for key, value in item.items() if key != "module")
    return f"{item['module']}({keys})" if keys else item["module"]


def training_difference(pairs: Sequence[Pair]) -> Difference | None:
    """Of the mean return of training episodes from the parting to the common end."""
    return _difference([(_training(p.run, p), _training(p.branch, p)) for p in pairs])


def evaluation_difference(pairs: Sequence[Pair]) -> Difference | None:
    """Of the mean return of the last evaluation that both have after they parted."""
    return _difference([_evaluations(pair) for pair in pairs])


def _training(run: run_records.RunRecord, pair: Pair) -> dict[int, float]:
    """By seed."""
    table = run.tables["episodes"]
    found = {}
    for seed in run.seeds if table else ():
        rows = (table["seed"] == seed) & (table["frames"] > pair.frames)
        rows &= table["frames"] <= pair.end
        if rows.any():
            found[seed] = float(table["return"][rows].mean())
    return found


def _evaluations(pair: Pair) -> tuple[dict[int, float], dict[int, float]]:
    """By seed, of the last moment at which both were evaluated: means over the games of both."""
    run, branch = (
        {
            (row.frames, row.game, row.seed): row.mean_return
            for row in x.evaluations()
            if row.frames > pair.frames
        }
        for x in (pair.run, pair.branch)
    )
    both = sorted(run.keys() & branch.keys())
    # Later ones replace those before.
    last = {seed: frames for frames, _, seed in both}
    found = []
    for scores in (run, branch):
        of_seed = {s: [scores[k] for k in both if (k[0], k[2]) == (last[s], s)] for s in last}
        found.append({seed: float(np.mean(values)) for seed, values in of_seed.items()})
    return found[0], found[1]


def _difference(scores: Sequence[tuple[dict[int, float], dict[int, float]]]) -> Difference | None:
    both = [(run[seed], branch[seed]) for run, branch in scores for seed in run if seed in branch]
    if not both:
        return None
    run, branch = np.array(both).T
    interval = statistics.stratified_bootstrap(statistics.mean, {"": branch - run})
    apart = statistics.stratified_bootstrap(
        lambda x, y: statistics.mean(x) - statistics.mean(y), {"": branch}, {"": run}
    )
    return Difference(
        float(run.mean()),
        float(branch.mean()),
        float((branch - run).mean()),
        float(interval.low),
        float(interval.high),
        (float(apart.low), float(apart.high)),
        len(both),
    )

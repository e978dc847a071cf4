"""How well agents learn task after task: outcomes by arm, and differences paired by seed.

The score of a task is the mean of a column of train.csv over it, `greedy_reward` or `mean_return`.
With T tasks, `early` is the mean score of tasks 5 to 10, `last` that of the last third, and
`change` the second less the first: what an agent loses or gains with age. Tasks are exchangeable,
so without loss of plasticity `change` is not below 0. Task 1 is no measure of a fresh agent where
values have first to find their size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis import likeness, pairing, run_records
from core import checks

EARLY = slice(4, 10)
"""Tasks 5 to 10."""

_FEWEST_TASKS = 15

Scores = Mapping[int, np.ndarray]
"""By seed, the score of each task [T]."""


class Outcome(NamedTuple):
    """Of an arm, with 95 % t-intervals."""

    early: pairing.Estimate
    last: pairing.Estimate
    change: pairing.Estimate


class Difference(NamedTuple):
    """An arm's `last` less another's, paired by seed.

    Attributes:
      estimate: of the differences, with its 95 % t-interval.
      bootstrap: bounds of the 95 % interval that resamples pairs (percentile, 10,000 draws).
      unpaired: bounds of the 95 % interval that pairs nothing (Welch): what pairing is worth.
      wins: pairs in which the arm is above the other.
      p_value: of the exact sign test, two-sided.
      adjusted: the same after Holm's correction over all arms that are compared.
    """

    estimate: pairing.Estimate
    bootstrap: tuple[float, float]
    unpaired: tuple[float, float]
    wins: int
    p_value: float
    adjusted: float


def scores(runs: Sequence[run_records.RunRecord], column: str) -> dict[str, dict[int, np.ndarray]]:
    """By the runs' name and by seed, the mean of a column of train.csv over each task.

    Raises:
      ConfigError: if a run has no such column of numbers or is no sequence, if runs are of other
        tasks or of another number of them, or as `by_arm`.
    """
    for run in runs:
        values = run.tables["train"].get(column, np.array(""))
        if not (np.issubdtype(values.dtype, np.number) and run.is_sequence):
            raise checks.ConfigError(
                f"{run.path}: expected a sequence of tasks with numbers {column} in train.csv"
            )
    found = by_arm(runs, lambda run, seed: of_tasks(run, seed, column))
    for run in runs:
        _check_tasks(run, runs[0])
    return found


def by_arm(
    runs: Sequence[run_records.RunRecord],
    read: Callable[[run_records.RunRecord, int], np.ndarray],
) -> dict[str, dict[int, np.ndarray]]:
    """By the runs' name and by seed, what is read of a run.

    Args:
      runs: of one or several seeds each.
      read: (run, seed) -> numbers.

    Raises:
      ConfigError: if a run is not finished, if it or what it branched off has another configuration
        than others of its name, or if a seed occurs twice.
    """
    found: dict[str, dict[int, np.ndarray]] = {}
    first: dict[str, run_records.RunRecord] = {}
    for run in runs:
        _check(run, first.setdefault(run.name, run))
        for seed in run.seeds:
            if seed in found.setdefault(run.name, {}):
                raise checks.ConfigError(f"{run.path}: seed {seed} of {run.name} occurs twice")
            found[run.name][seed] = read(run, seed)
    return found


def num_tasks(run: run_records.RunRecord) -> int:
    """Whole tasks that a run has done."""
    return run.frames // run.frames_per_task


def of_tasks(run: run_records.RunRecord, seed: int, column: str) -> np.ndarray:
    """The mean of a column of train.csv over each task [T]; numbers that are nan do not count.

    Raises:
      ConfigError: if a task has none.
    """
    tasks, values = _rows(run, seed, column, run.frames)
    of_each = [values[tasks == task] for task in range(num_tasks(run))]
    # Rows in which nothing was learned, or no episode ended, have none.
    of_each = [x[np.isfinite(x)] for x in of_each]
    empty = [task for task, x in enumerate(of_each) if not x.size]
    if empty:
        raise checks.ConfigError(f"{run.path}: {column} of task {empty[0]} was never a number")
    return np.array([x.mean() for x in of_each])


def _rows(
    run: run_records.RunRecord, seed: int, column: str, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tasks and numbers of a seed until `frames`; a branch has those of its run before it left."""
    table = run.tables["train"]
    chosen = (table["seed"] == seed) & (table["frames"] <= frames)
    own = table["task"][chosen], table[column][chosen]
    if run.left is None:
        return own
    before = _rows(_trunk(run), seed, column, run.left["frames"])
    tasks, values = (np.concatenate(both) for both in zip(before, own))
    return tasks, values


def with_trunks(run: run_records.RunRecord) -> Iterator[run_records.RunRecord]:
    """A run; of a branch also the run that it left, and that one's in turn.

    Raises:
      ConfigError: if one of them is not there.
    """
    yield run
    if run.left is not None:
        yield from with_trunks(_trunk(run))


def _trunk(branch: run_records.RunRecord) -> run_records.RunRecord:
    assert branch.left is not None
    return run_records.load(Path(branch.left["run_dir"]))


def _check(run: run_records.RunRecord, first: run_records.RunRecord) -> None:
    if not run.is_finished:
        raise checks.ConfigError(
            f"{run.path}: not finished ({run.frames} frames): left out, or go on"
        )
    if run is first:
        return
    found, expected = (list(with_trunks(x)) for x in (run, first))
    left, others = ([x.left["frames"] for x in line if x.left] for line in (found, expected))
    if left != others:
        raise checks.ConfigError(
            f"{run.path}: branched off at frames {left}, and {first.path}, which has the same "
            f"name, at {others}: expected another name"
        )
    for ours, theirs in zip(found, expected):
        difference = likeness.first_difference(theirs.config, ours.config, likeness.OF_A_SEED)
        if difference:
            raise checks.ConfigError(
                f"{ours.path}: {difference}: expected the configuration of {theirs.path}, or "
                "another name"
            )


def _check_tasks(run: run_records.RunRecord, first: run_records.RunRecord) -> None:
    """Raises ConfigError if it has other tasks: their last thirds would not be comparable."""
    ours, theirs = ({"environment": x.config["environment"]} for x in (run, first))
    difference = likeness.first_difference(theirs, ours, likeness.WITHOUT_EFFECT)
    if not difference and num_tasks(run) != num_tasks(first):
        difference = f"{num_tasks(run)} tasks instead of {num_tasks(first)}"
    if difference:
        raise checks.ConfigError(f"{run.path}: {difference}: expected the tasks of {first.path}")


def outcome(arm: Scores) -> Outcome:
    """Of an arm; raises ConfigError for too few tasks."""
    early, last = (np.array(column) for column in zip(*(parts(row) for row in arm.values())))
    return Outcome(*map(pairing.estimate, (early, last, last - early)))


def differences(arms: Mapping[str, Scores], base: str) -> dict[str, Difference]:
    """Every other arm's `last` less that of `base`, over the seeds that both have.

    Raises:
      ConfigError: if there is no such arm, or an arm has no seed in common with it.
    """
    if base not in arms:
        raise checks.ConfigError(f"base = {base!r}: expected one of {', '.join(arms)}")
    pairs = {
        name: pairing.differences(arm, arms[base], name, last)
        for name, arm in arms.items()
        if name != base
    }
    p_values = {name: _sign_test(values) for name, values in pairs.items()}
    adjusted = _holm(p_values)
    return {
        name: Difference(
            pairing.estimate(values),
            pairing.bootstrap(values),
            _welch(arms[name], arms[base]),
            int(np.sum(values > 0)),
            p_values[name],
            adjusted[name],
        )
        for name, values in pairs.items()
    }


def parts(row: np.ndarray) -> tuple[float, float]:
    """The scores `early` and `last` of a seed, from those of its tasks [T].

    Raises:
      ConfigError: if there are too few tasks.
    """
    if len(row) < _FEWEST_TASKS:
        raise checks.ConfigError(
            f"found {len(row)} whole tasks: expected at least {_FEWEST_TASKS}, of which 5 to 10 "
            "are early and the last third is late"
        )
    return float(row[EARLY].mean()), float(row[-(len(row) // 3) :].mean())


def last(tasks: np.ndarray) -> float:
    """The mean of the last third of tasks."""
    return parts(tasks)[1]


def _welch(arm: Scores, base: Scores) -> tuple[float, float]:
    """Over the seeds that both have; nan for a single one."""
    seeds = sorted(arm.keys() & base.keys())
    if len(seeds) == 1:
        return float("nan"), float("nan")
    ours, theirs = ([parts(scores[seed])[1] for seed in seeds] for scores in (arm, base))
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return float(interval.low), float(interval.high)


def _sign_test(values: np.ndarray) -> float:
    """Pairs without a difference count for neither side."""
    wins, losses = int(np.sum(values > 0)), int(np.sum(values < 0))
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment: the i-th smallest times as many as are left, never falling."""
    adjusted, largest = {}, 0.0
    for i, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - i) * p_values[name]))
        adjusted[name] = largest
    return adjusted

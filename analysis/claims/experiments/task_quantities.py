"""Quantities of each task, read from a run's tables."""

from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from analysis import run_records, task_streams
from core import checks

Read = Callable[[run_records.RunRecord, int], np.ndarray]
"""(run, seed) -> a quantity of each task [T]."""


def by_arm(runs: Sequence[run_records.RunRecord], read: Read) -> dict[str, dict[int, np.ndarray]]:
    """By the runs' name and by seed, what is read of the runs that did not fail.

    Raises:
      ConfigError: as task_streams.by_arm, or if all have failed.
    """
    scores = task_streams.by_arm([run for run in runs if run.is_finished], read)
    if not scores:
        raise checks.ConfigError(f"{runs[0].path}: expected a finished run here or beside it")
    for run in runs:
        if not run.is_finished:
            logging.warning("%s: failed at frame %d: has no score", run.path, run.frames)
            scores.setdefault(run.name, {})
    return scores


def last_rows(table: str, column: str) -> Read:
    """Of a table's last row in each task."""
    return lambda run, seed: np.array([x[-1] for x in _by_task(run, table, column, seed)])


def means(column: str) -> Read:
    """Of a column of train.csv."""
    return lambda run, seed: task_streams.of_tasks(run, seed, column)


def layer_means(table: str, column: str) -> Read:
    """The mean over layers of what a table has of them once a task."""
    return lambda run, seed: np.array([x.mean() for x in _by_task(run, table, column, seed)])


def weight_norm(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """Of all weights together, at the end of each task, the only time it is measured.

    Without scales and offsets of norms, which plain networks have not.
    """
    of_tasks = _by_task(run, "layers", "norm", seed, where="mean_abs_weight")
    return np.array([np.linalg.norm(x) for x in of_tasks])


def norm_deviation(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """The largest relative deviation of a recorded norm since initialization, by task."""
    table = run_records.read_table(run.path / f"norms_seed_{seed}.csv")
    # A resumed run repeats rows: the last of them counts.
    last = {updates: row for row, updates in enumerate(table["updates"])}
    rows = [last[updates] for updates in sorted(last)]
    norms = np.stack([table[layer][rows] for layer in table if layer != "updates"])
    return np.abs(norms[:, 1:] / norms[:, :1] - 1).max(axis=0)


def unit_shares(column: str) -> Callable[[run_records.RunRecord, int], list[np.ndarray]]:
    """By task, a share of units at each of its measurements, mean over layers."""

    def read(run: run_records.RunRecord, seed: int) -> list[np.ndarray]:
        num_layers = len(np.unique(run.tables["units"]["layer"]))
        of_tasks = _by_task(run, "units", column, seed)
        return [x.reshape(-1, num_layers).mean(axis=1) for x in of_tasks]

    return read


def at_end(shares: Callable[[run_records.RunRecord, int], list[np.ndarray]]) -> Read:
    """The last of a task's measurements."""
    return lambda run, seed: np.array([x[-1] for x in shares(run, seed)])


def largest(shares: Callable[[run_records.RunRecord, int], list[np.ndarray]]) -> Read:
    """The largest of a task's measurements."""
    return lambda run, seed: np.array([x.max() for x in shares(run, seed)])


def of_last_third(run: run_records.RunRecord, read: Read) -> float:
    """The mean over seeds of what is read, in the last third of tasks."""
    return float(np.mean([task_streams.parts(read(run, seed))[1] for seed in run.seeds]))


def accuracy(run: run_records.RunRecord) -> float:
    """The mean over all tasks and seeds."""
    return float(np.mean([means("accuracy")(run, seed).mean() for seed in run.seeds]))


def _by_task(
    run: run_records.RunRecord, table: str, column: str, seed: int, where: str = ""
) -> list[np.ndarray]:
    """The numbers of each task, in their order, without rows in which `where` or they are nan."""
    rows = run.tables[table]
    ours = (rows["seed"] == seed) & np.isfinite(rows[column]) & np.isfinite(rows[where or column])
    tasks = np.ceil(rows["frames"][ours] / run.frames_per_task).astype(int) - 1
    values = rows[column][ours]
    return [values[tasks == task] for task in range(task_streams.num_tasks(run))]

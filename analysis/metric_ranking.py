"""Which metric tells how well a network still learns: rank correlations with the probe's outcome.

Over the checkpoints that scripts.probe_plasticity has probed. Checkpoints of one run are not
independent: intervals are over runs. The clock, `frames`, is ranked beside the metrics: one that is
no better tells no more than how long a run has trained.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis import run_records, statistics
from analysis.figures import metric_curves, trainability_figure
from core import checks

CLOCK = "frames"
_NUM_SAMPLES = 2_000
_LEAST_CHECKPOINTS = 3


class Ranked(NamedTuple):
    """How a metric goes with the probe's outcome.

    Attributes:
      metric: its name, as in analysis/figures/metric_curves.py.
      pooled: Spearman's correlation over the checkpoints of all runs together.
      low: of its 95 % interval, by resampling whole runs; nan with one run.
      high: of the same.
      within: the mean over runs of the correlation over each run's own checkpoints.
      runs: that have the metric and a probe.
      checkpoints: of these, in all.
    """

    metric: str
    pooled: float
    low: float
    high: float
    within: float
    runs: int
    checkpoints: int


def rank(runs: Sequence[run_records.RunRecord], task: str) -> list[Ranked]:
    """The metrics by the size of their pooled correlation, strongest first.

    Args:
      runs: with a probe.csv in their directories.
      task: of the probe.

    Raises:
      ConfigError: if none has enough probed checkpoints of that task.
    """
    outcomes = {run.path: outcome(run, task) for run in runs}
    probed = [run for run in runs if len(outcomes[run.path]) >= _LEAST_CHECKPOINTS]
    if not probed:
        raise checks.ConfigError(
            f"task = {task!r}: expected runs with {_LEAST_CHECKPOINTS} or more checkpoints that "
            "scripts.probe_plasticity has probed"
        )
    found = [
        ranked
        for metric in (CLOCK, *metric_curves.available(probed))
        if (ranked := _rank_one(metric, probed, outcomes))
    ]
    return sorted(found, key=lambda ranked: -abs(ranked.pooled))


def outcome(run: run_records.RunRecord, task: str) -> dict[int, float]:
    """By frames, the geometric mean over draws of the loss over a new network's.

    Of the run's first seed, and of fits of one kind: those like the newest.
    """
    table = run_records.read_table(run.path / "probe.csv")
    if not table:
        return {}
    first = table["seed_index"] == 0
    table = trainability_figure.of_one_kind({name: x[first] for name, x in table.items()})
    if not table:
        return {}
    of_task = table["task"] == task
    return {
        int(frames): float(np.exp(np.log(table["mean_loss_ratio"][rows]).mean()))
        for frames in np.unique(table["frames"][of_task])
        for rows in (of_task & (table["frames"] == frames),)
    }


def _rank_one(
    metric: str, runs: Sequence[run_records.RunRecord], outcomes: Mapping[Path, dict[int, float]]
) -> Ranked | None:
    pairs = [_pairs(metric, run, outcomes[run.path]) for run in runs]
    pairs = [own for own in pairs if own.shape[1] >= _LEAST_CHECKPOINTS]
    if not pairs:
        return None
    within = [rho for own in pairs if not np.isnan(rho := statistics.spearman(own))]
    rng = np.random.default_rng(0)
    draws = rng.integers(len(pairs), size=(_NUM_SAMPLES, len(pairs)))
    samples = [
        statistics.spearman(np.concatenate([pairs[i] for i in draw], axis=1)) for draw in draws
    ]
    pooled = np.concatenate(pairs, axis=1)
    value = statistics.spearman(pooled)
    if np.isnan(value):  # a metric that never changes
        return None
    low, high = np.nanquantile(samples, [0.025, 0.975]) if len(pairs) > 1 else (np.nan, np.nan)
    mean = float(np.mean(within)) if within else float("nan")
    return Ranked(metric, value, float(low), float(high), mean, len(pairs), pooled.shape[1])


def _pairs(metric: str, run: run_records.RunRecord, outcomes: dict[int, float]) -> np.ndarray:
    """The metric and the outcome [2, checkpoints], where the metric was measured by then.

    The measurement is the newest one not after the checkpoint.
    """
    found = []
    curve = None if metric == CLOCK else metric_curves.mean_over_layers(run, metric)
    for frames, value in sorted(outcomes.items()):
        if metric == CLOCK:
            found.append((frames, value))
        elif curve is not None and (before := np.flatnonzero(curve.frames <= frames)).size:
            measured = float(curve.values[0, before[-1]])
            if np.isfinite(measured):
                found.append((measured, value))
    return np.array(found, float).reshape(-1, 2).T

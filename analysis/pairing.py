"""Whether two arms are the same, paired by seed, and when a return is first reached."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis import run_records


class Equivalence(NamedTuple):
    """Two one-sided t-tests (Schuirmann 1987) at 5 %.

    Attributes:
      difference: mean over the pairs.
      low: of the 90 % interval, which lies within the margin exactly if both tests reject.
      high: of the same.
      is_shown: whether it does.
      pairs: how many.
    """

    difference: float
    low: float
    high: float
    is_shown: bool
    pairs: int


def test(first: Mapping[int, float], second: Mapping[int, float], margin: float) -> Equivalence:
    """Whether second - first is within ±margin, for scores by seed; two common seeds at least."""
    seeds = sorted(first.keys() & second.keys())
    differences = np.array([second[seed] - first[seed] for seed in seeds])
    mean, error = float(differences.mean()), stats.sem(differences)
    half = float(stats.t.ppf(0.95, len(seeds) - 1) * error)
    low, high = mean - half, mean + half
    return Equivalence(mean, low, high, -margin < low and high < margin, len(seeds))


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and the bounds of its 95 % t-interval, of two values or more."""
    mean, error = float(np.mean(values)), stats.sem(values)
    half = float(stats.t.ppf(0.975, len(values) - 1) * error)
    return mean, mean - half, mean + half


def first_reached(runs: Sequence[run_records.RunRecord], threshold: float) -> dict[int, float]:
    """By seed, the frame of the first evaluation of at least `threshold`; inf if there is none."""
    reached = {seed: np.inf for run in runs for seed in run.seeds}
    for run in runs:
        for row in run.evaluations():
            if row.mean_return >= threshold:
                reached[row.seed] = min(reached[row.seed], row.frames)
    return reached

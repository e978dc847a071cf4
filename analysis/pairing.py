"""Scores of two arms paired by seed: their differences, and what may be said of means of such."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from analysis import statistics
from core import checks

_NUM_SAMPLES = 10_000


class Estimate(NamedTuple):
    """A mean over seeds with the bounds of its t-interval; nan for a single seed.

    Attributes:
      mean: over the seeds.
      low: bound.
      high: bound.
      seeds: how many.
    """

    mean: float
    low: float
    high: float
    seeds: int

    def is_within(self, margin: float) -> bool:
        """Whether the interval is within ±margin.

        That of 90 % is exactly if two one-sided t-tests (Schuirmann 1987) reject at 5 %.
        """
        return -margin < self.low and self.high < margin


def differences(
    arm: Mapping[int, Any],
    base: Mapping[int, Any],
    name: str,
    read: Callable[[Any], float] = float,
) -> np.ndarray:
    """What is read of the arm's scores less that of the base's [S], of each seed that both have.

    Args:
      arm: scores by seed.
      base: likewise.
      name: the arm's.
      read: of a seed's scores.

    Raises:
      ConfigError: if there is no such seed.
    """
    seeds = sorted(arm.keys() & base.keys())
    if not seeds:
        raise checks.ConfigError(f"{name}: has no seed in common with the arm it is compared with")
    return np.array([read(arm[seed]) - read(base[seed]) for seed in seeds])


def estimate(values: np.ndarray, level: float = 0.95) -> Estimate:
    """Of the mean of one value for each seed [S], with the t-interval of a level."""
    if len(values) == 1:
        return Estimate(float(values[0]), math.nan, math.nan, 1)
    mean, error = float(np.mean(values)), stats.sem(values)
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * error)
    return Estimate(mean, mean - half, mean + half, len(values))


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """Bounds of the 95 % interval of their mean that resamples seeds (percentile)."""
    found = statistics.stratified_bootstrap(statistics.mean, {"": values}, num_samples=_NUM_SAMPLES)
    return float(found.low), float(found.high)

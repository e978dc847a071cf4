"""Statistics of scores over tasks and runs, with intervals.

The definitions are those of Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
statistical precipice" (arXiv 2108.13264), whose library is rliable; with the same number of runs
on every task the numbers equal that library's.

Scores are normalized scores by task, each an array [..., runs]: a plain [runs] array in ordinary
use; leading axes, the same in all tasks, are resampled copies, and every statistic keeps them.
Tasks may have different numbers of runs.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from core import checks

Scores = Mapping[str, np.ndarray]


class Interval(NamedTuple):
    """Bounds of a statistic, each of the statistic's own shape."""

    low: np.ndarray
    high: np.ndarray


def mean(scores: Scores) -> np.ndarray:
    """Mean [...] over tasks of the mean over runs.

    Raises:
      ConfigError: if there is no task, or one without runs or with a score that is not finite,
        as in all functions here.
    """
    return _task_means(scores).mean(axis=-1)


def median(scores: Scores) -> np.ndarray:
    """Median [...] over tasks of the mean over runs."""
    return np.median(_task_means(scores), axis=-1)


def iqm(scores: Scores) -> np.ndarray:
    """Interquartile mean [...]: of all scores of all tasks, without a quarter at either end.

    The quarter is rounded down to whole scores. A task with more runs has more of the scores.
    """
    _check(scores)
    pooled = np.sort(np.concatenate(list(scores.values()), axis=-1), axis=-1)
    cut = pooled.shape[-1] // 4
    return pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1)


def optimality_gap(scores: Scores, gamma: float = 1.0) -> np.ndarray:
    """By how much scores fall short of gamma [...], mean over tasks of the mean over runs.

    What exceeds gamma does not make up for what falls short of it.
    """
    return gamma - mean({task: np.minimum(values, gamma) for task, values in scores.items()})


def performance_profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Fraction of runs above each threshold [..., thresholds], mean over tasks.

    Args:
      scores: by task, [..., runs].
      thresholds: [thresholds], in the scores' unit; a score equal to one is not above it.
    """
    _check(scores)
    limits = np.asarray(thresholds)[:, None]
    total = np.zeros(len(limits))
    # One task at a time: all tasks' resampled fractions at once would fill the memory.
    for values in scores.values():
        total = total + (values[..., None, :] > limits).mean(axis=-1)
    return total / len(scores)


def probability_of_improvement(x: Scores, y: Scores) -> np.ndarray:
    """P(a run of x is above one of y) plus half of P(they are equal) [...], mean over tasks.

    In each task it is the Mann-Whitney statistic over the number of pairs. Only tasks in both
    count.

    Raises:
      ConfigError: if no task is in both.
    """
    _check(x)
    _check(y)
    tasks = [task for task in x if task in y]
    if not tasks:
        raise checks.ConfigError(f"scores of {_listed(x)} and of {_listed(y)}: no task in common")
    return np.mean([_probability_above(x[task], y[task]) for task in tasks], axis=0)


def num_runs(scores: Scores) -> int:
    """The smallest number of runs of a task: with 1, intervals ignore that task's spread."""
    _check(scores)
    return min(values.shape[-1] for values in scores.values())


def stratified_bootstrap(
    statistic: Callable[..., np.ndarray],
    *scores: Scores,
    num_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic over resampled runs.

    Runs are drawn with replacement within each task, independently for each argument. The tasks
    stay: the interval is about other runs on the same tasks. A task with a single run always
    draws that run, so with a single run everywhere low equals high, which says nothing about the
    spread; see `num_runs`.

    Args:
      statistic: a function of this module, or another that keeps leading axes.
      *scores: its arguments, each by task [runs].
      num_samples: how often the runs are resampled.
      confidence: the fraction of resampled statistics between the bounds.
      seed: of the resampling; the same seed gives the same interval.

    Raises:
      ConfigError: for arguments out of range.
    """
    options = {"num_samples": num_samples, "confidence": confidence, "seed": seed}
    checks.verify("bootstrap", options, _OPTIONS)
    rng = np.random.default_rng(seed)
    samples = statistic(*(_resample(rng, argument, num_samples) for argument in scores))
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return Interval(low, high)


_OPTIONS = {
    "num_samples": checks.integer(1),
    "confidence": checks.number(0, 1, open_low=True),
    "seed": checks.integer(0),
}


def _resample(rng: np.random.Generator, scores: Scores, num_samples: int) -> Scores:
    """Scores by task [num_samples, runs], drawn from the task's own runs [runs]."""
    _check(scores)
    for task, values in scores.items():
        if values.ndim > 1:
            raise checks.ConfigError(f"scores[{task!r}] of shape {values.shape}: expected [runs]")
    return {task: rng.choice(values, (num_samples, len(values))) for task, values in scores.items()}


def _probability_above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[...] of x [..., runs] and y [..., other runs], over all pairs."""
    difference = np.sign(x[..., :, None] - y[..., None, :])
    return (1 + difference.mean(axis=(-2, -1))) / 2


def _task_means(scores: Scores) -> np.ndarray:
    """[..., tasks]."""
    _check(scores)
    return np.stack([values.mean(axis=-1) for values in scores.values()], axis=-1)


def _check(scores: Scores) -> None:
    if not scores:
        raise checks.ConfigError("scores = {}: expected one task or more")
    for task, values in scores.items():
        if np.ndim(values) < 1 or not np.size(values) or not np.isfinite(values).all():
            raise checks.ConfigError(
                f"scores[{task!r}] = {' '.join(str(values).split())}: expected an array of one "
                "finite score per run"
            )


def _listed(scores: Scores) -> str:
    return ", ".join(scores)


def spearman(pairs: np.ndarray) -> float:
    """Spearman's rank correlation of two rows [2, N]; nan if one of them is constant."""
    if (np.ptp(pairs, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(stats.rankdata(pairs, axis=1))[0, 1])

"""Scores of arms over tasks or frames."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from scipy import stats

from analysis import task_streams
from analysis.figures.colours import colour

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# With more positions their points would hide the line.
_MAX_MARKERS = 100


def draw(
    arms: Mapping[str, task_streams.Scores],
    positions: Sequence[int] | np.ndarray,
    xlabel: str,
    ylabel: str,
    is_log: bool = False,
) -> Figure:
    """A line for each arm, its mean over seeds, with 95 % t-intervals at each position.

    Where there is one position, a point for each arm. A seed with scores of nan, as its run failed,
    is left out, and the legend says so.

    Args:
      arms: by name and seed, the scores [P].
      positions: [P] of what xlabel says; of shorter arms the first.
      xlabel: of the positions.
      ylabel: of the scores.
      is_log: scores are positive and their axis is logarithmic; means and intervals are then those
        of the logarithms, as a lower end below 0 has no place there.
    """
    rows = -(-len(arms) // 2)
    figure = Figure(figsize=(9, 4.2 + 0.2 * rows), layout="constrained")
    axes = figure.add_subplot()
    if is_log:
        axes.set_yscale("log")
    if len(positions) == 1:
        _draw_points(axes, arms, is_log)
    else:
        _draw_lines(axes, arms, np.asarray(positions), is_log)
        axes.set_xlabel(xlabel)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        # Above the curves: inside it would hide some of them.
        figure.legend(loc="outside upper center", ncols=2, fontsize="small", frameon=False)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    return figure


def _draw_lines(
    axes: Axes, arms: Mapping[str, task_streams.Scores], positions: np.ndarray, is_log: bool
) -> None:
    for i, (name, arm) in enumerate(arms.items()):
        mean, low, high = _summary(arm, is_log)
        x, color = positions[: len(mean)], colour(i, len(arms))
        marker = "." if len(x) <= _MAX_MARKERS else ""
        axes.plot(x, mean, marker=marker, label=_label(name, arm), color=color)
        axes.fill_between(x, low, high, color=color, alpha=0.2)


def _draw_points(axes: Axes, arms: Mapping[str, task_streams.Scores], is_log: bool) -> None:
    for i, arm in enumerate(arms.values()):
        mean, low, high = _summary(arm, is_log)
        error, color = [mean - low, high - mean], colour(i, len(arms))
        axes.errorbar([i], mean, error, fmt="o", capsize=4, color=color)
    axes.set_xticks(range(len(arms)), [_label(name, arm) for name, arm in arms.items()])
    axes.set_xlim(-0.5, len(arms) - 0.5)


def _label(name: str, arm: task_streams.Scores) -> str:
    there = len(_finished(arm))
    of_all = "" if there == len(arm) else f"{there} of "
    return f"{name} ({of_all}{len(arm)} seed{'s' if len(arm) > 1 else ''})"


def _finished(arm: task_streams.Scores) -> list[np.ndarray]:
    return [values for values in arm.values() if not np.isnan(values).any()]


def _summary(arm: task_streams.Scores, is_log: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds and both ends of its interval, [P] each; of one seed itself."""
    # Where all have failed there is nothing to draw but the name.
    values = np.stack(_finished(arm) or list(arm.values())[:1])
    values = np.log(values) if is_log else values
    mean, half = values.mean(0), np.zeros(values.shape[1])
    if len(values) > 1:
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values, axis=0)
    back = np.exp if is_log else np.asarray
    return back(mean), back(mean - half), back(mean + half)

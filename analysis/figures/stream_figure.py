"""Scores of arms over tasks or frames."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from scipy import stats

from analysis import task_streams

matplotlib.use("Agg")

from matplotlib.figure import Figure


def draw(
    arms: Mapping[str, task_streams.Scores],
    positions: Sequence[int] | np.ndarray,
    xlabel: str,
    ylabel: str,
) -> Figure:
    """A line for each arm, its mean over seeds, with 95 % t-intervals at each position.

    Args:
      arms: by name and seed, the scores [P].
      positions: [P] of what xlabel says; of shorter arms the first.
      xlabel: of the positions.
      ylabel: of the scores.
    """
    figure = Figure(figsize=(9, 4.5))
    axes = figure.add_subplot()
    for name, arm in arms.items():
        values = np.stack(list(arm.values()))
        mean = values.mean(0)
        x = np.asarray(positions)[: len(mean)]
        (line,) = axes.plot(x, mean, marker=".", label=f"{name} ({len(values)} seeds)")
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values, axis=0)
            axes.fill_between(x, mean - half, mean + half, color=line.get_color(), alpha=0.2)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.tight_layout()
    return figure

"""Scores of arms task after task."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from scipy import stats

from analysis import task_streams

matplotlib.use("Agg")

from matplotlib.figure import Figure


def draw(arms: Mapping[str, task_streams.Scores], column: str) -> Figure:
    """A line for each arm, its mean over seeds, with 95 % t-intervals of each task.

    Args:
      arms: by name.
      column: what the scores are of, for the axis.
    """
    figure = Figure(figsize=(9, 4.5))
    axes = figure.add_subplot()
    for name, arm in arms.items():
        values = np.stack(list(arm.values()))
        tasks, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
        (line,) = axes.plot(tasks, mean, marker=".", label=f"{name} ({len(values)} seeds)")
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values, axis=0)
            axes.fill_between(tasks, mean - half, mean + half, color=line.get_color(), alpha=0.2)
    axes.set_xlabel("task")
    axes.set_ylabel(column)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.tight_layout()
    return figure

"""How well a run's networks still learn, over its training: the figure of probe.csv."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records
from analysis.figures import curves
from core import checks

# Earlier versions did not write whose replay the inputs were from.
_KIND = ("seed_index", "inputs", "inputs_frames", "num_updates", "batch_size", "learning_rate")
_TITLES = {"regression": "own outputs + N(0, 1)", "labels": "random labels"}


def draw(path: Path) -> Figure:
    """A panel for each task: the ratio's mean over the draws, and its range.

    Args:
      path: a probe.csv, as scripts/probe_plasticity.py writes it.

    Raises:
      ConfigError: if it has no row.
    """
    table = of_one_kind(run_records.read_table(path))
    if not table:
        raise checks.ConfigError(f"{path}: has no row")
    figure = Figure(figsize=(11, 4))
    for i, (task, title) in enumerate(_TITLES.items()):
        axes = figure.add_subplot(1, 2, i + 1)
        rows = table["task"] == task
        for column, name in (("mean_loss_ratio", "mean loss"), ("final_loss_ratio", "final loss")):
            _draw_ratio(axes, table["frames"][rows], table[column][rows], name)
        axes.axhline(1, color="grey", linestyle=":", label="new network")
        axes.set_xlabel("frames (thousands)")
        axes.set_ylabel("loss over a new network's")
        axes.set_title(title, fontsize="medium")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.tight_layout()
    return figure


def of_one_kind(table: run_records.Columns) -> run_records.Columns:
    """The rows of a probe.csv of the newest one's seed, inputs and budget; {} without a row."""
    if not table or not len(table["frames"]):
        return {}
    same = [table[name] == table[name][-1] for name in _KIND if name in table]
    kept = np.logical_and.reduce(same)
    return {name: column[kept] for name, column in table.items()}


def _draw_ratio(axes: curves.plt.Axes, frames: np.ndarray, ratios: np.ndarray, name: str) -> None:
    moments = np.unique(frames)
    groups = [ratios[frames == moment] for moment in moments]
    means = np.array([group.mean() for group in groups])
    low, high = (np.array([f(group) for group in groups]) for f in (np.min, np.max))
    line = axes.plot(moments / 1e3, means, marker="o", label=f"{name}, mean of the draws")[0]
    axes.fill_between(moments / 1e3, low, high, color=line.get_color(), alpha=0.2)

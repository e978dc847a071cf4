"""How the means and variances of pre-activations are distributed over a layer's units."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from analysis import run_records
from analysis.figures import curves
from core import checks

COLUMNS = ("pre_mean", "pre_variance")
_BINS = 30


def draw(path: Path) -> Figure:
    """A row for each layer: histograms over its units, a line for each checkpoint.

    Args:
      path: a unit_moments.csv, as scripts/unit_histograms.py writes it.

    Raises:
      ConfigError: if it has no row.
    """
    table = run_records.read_table(path)
    if not table or not len(table["frames"]):
        raise checks.ConfigError(f"{path}: has no row")
    names = list(dict.fromkeys(table["layer"]))
    figure = Figure(figsize=(10, 2.6 * len(names)))
    for i, name in enumerate(names):
        of_layer = {column: values[table["layer"] == name] for column, values in table.items()}
        for j, column in enumerate(COLUMNS):
            axes = figure.add_subplot(len(names), 2, 2 * i + j + 1)
            _draw_histograms(axes, of_layer["frames"], of_layer[column])
            axes.set_title(f"{name}: {column}", fontsize="small")
            axes.set_ylabel("units")
    figure.axes[0].legend(fontsize="x-small", title="frames", title_fontsize="x-small")
    figure.tight_layout()
    return figure


def _draw_histograms(axes: curves.plt.Axes, frames: np.ndarray, values: np.ndarray) -> None:
    moments = np.unique(frames)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(moments)))
    edges = np.histogram_bin_edges(values, _BINS)
    for moment, colour in zip(moments, colours):
        counts, _ = np.histogram(values[frames == moment], edges)
        axes.stairs(counts, edges, color=colour, label=str(int(moment)))
    axes.grid(alpha=0.3)

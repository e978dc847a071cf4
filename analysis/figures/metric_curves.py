"""What layers.csv, units.csv, ranks.csv and network.csv hold, over training.

A metric is `<table>.<column>`, such as units.dead. Of the layers that have it the hidden ones are
drawn, or all if none of them is hidden; a metric of the whole network is one line.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from analysis import run_records
from core import checks, injected

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

TABLES = ("layers", "units", "ranks", "network")
_KEYS = ("frames", "updates", "seed", "layer")
_PANELS_A_ROW = 3


class Curve(NamedTuple):
    """A metric of one layer, or of the network, in a run.

    Attributes:
      frames: of the measurements, [moments].
      values: of each seed, [seeds, moments].
    """

    frames: np.ndarray
    values: np.ndarray


def is_hidden(layer: str) -> bool:
    """Whether it is neither a norm, a scale, an output nor gates, by the project's own names."""
    # Where a noisy layer's means and sigmas are projected apart, they are layers of their own.
    name = layer.removesuffix("/mu").removesuffix("/sigma").rpartition("/")[2]
    is_other = re.search(r"(^|_)(norm|scale|share|output)(_|$)", name) or name == injected.MODULE
    return not is_other


def available(runs: Sequence[run_records.RunRecord]) -> list[str]:
    """The metrics that some run has."""
    columns = (
        f"{table}.{column}"
        for run in runs
        for table in TABLES
        for column in run.tables[table]
        if column not in _KEYS and len(run.tables[table]["frames"])
    )
    return list(dict.fromkeys(columns))


def curves(run: run_records.RunRecord, metric: str) -> dict[str, Curve]:
    """A metric by layer, "" for the network; {} if the run does not have it.

    Moments at which not all seeds were written are left out, and layers without any number.
    """
    name, _, column = metric.partition(".")
    table = run.tables[name]
    if column not in table:
        return {}
    layers = table["layer"] if "layer" in table else np.full(len(table["frames"]), "")
    found = {}
    for layer in dict.fromkeys(layers.tolist()):
        rows = [np.flatnonzero((layers == layer) & (table["seed"] == seed)) for seed in run.seeds]
        moments = min(len(r) for r in rows)
        values = np.stack([table[column][r[:moments]] for r in rows])
        if not np.isnan(values).all():
            found[layer] = Curve(table["frames"][rows[0][:moments]], values)
    hidden = {layer: curve for layer, curve in found.items() if not layer or is_hidden(layer)}
    return hidden or found


def mean_over_layers(run: run_records.RunRecord, metric: str) -> Curve | None:
    """The mean over the layers that have the metric; None without any."""
    found = list(curves(run, metric).values())
    if not found:
        return None
    moments = min(len(curve.frames) for curve in found)
    stacked = np.stack([curve.values[:, :moments] for curve in found])
    return Curve(found[0].frames[:moments], np.nanmean(stacked, axis=0))


def draw(runs: Mapping[str, run_records.RunRecord], metrics: Sequence[str]) -> Figure:
    """A panel for each run and metric, with a line for each layer.

    Args:
      runs: by label.
      metrics: see above.

    Raises:
      ConfigError: if no run has one of them.
    """
    there = available(list(runs.values()))
    for metric in metrics:
        if metric not in there:
            listed = ", ".join(there) or "nothing: log.units_period_frames and others are 0"
            raise checks.ConfigError(f"metrics = {metric!r}: expected one of {listed}")
    figure, axes = _panels(len(metrics) * len(runs))
    panels = ((metric, label, run) for metric in metrics for label, run in runs.items())
    for axis, (metric, label, run) in zip(axes, panels):
        for i, (layer, curve) in enumerate(curves(run, metric).items()):
            for j, values in enumerate(curve.values):
                shown = layer if j == 0 and layer else None
                axis.plot(curve.frames / 1e3, values, f"C{i % 10}", label=shown)
        axis.set_title(f"{metric}\n{label}", fontsize="medium")
        axis.set_xlabel("frames (thousands)")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="x-small")
    figure.tight_layout()
    return figure


def _panels(number: int) -> tuple[Figure, list[Any]]:
    columns = min(number, _PANELS_A_ROW)
    rows = -(-number // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 4 * rows), squeeze=False)
    flat = list(axes.ravel())
    for unused in flat[number:]:
        unused.axis("off")
    return figure, flat[:number]

"""Scores of arms over tasks or frames."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from scipy import stats

from analysis import task_streams
from analysis.figures.colours import colour

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

# With more positions their points would hide the line.
_MAX_MARKERS = 100


class Panel(NamedTuple):
    """A part of a figure.

    Attributes:
      arms: by name and seed, the scores [P]; of shorter arms those at the first positions.
      ylabel: of the scores; panels with the same one have the same range.
      title: above it.
      is_log: the axis is logarithmic; means and intervals are then those of the logarithms, as a
        lower end below 0 has no place there.
    """

    arms: Mapping[str, task_streams.Scores]
    ylabel: str
    title: str = ""
    is_log: bool = False


def draw(panels: Sequence[Panel], positions: Sequence[int] | np.ndarray, xlabel: str) -> Figure:
    """A line for each arm, its mean over seeds, with 95 % t-intervals at each position.

    Where there is one position, a point for each arm. A seed with scores of nan, as its run failed,
    is left out, and the legend says so.

    Args:
      panels: row by row; an arm has the same colour in all of them.
      positions: [P] of what xlabel says.
      xlabel: of the positions.
    """
    arms: dict[str, task_streams.Scores] = {}
    for panel in panels:
        arms |= {name: arm for name, arm in panel.arms.items() if name not in arms}
    colours = {name: colour(i, len(arms)) for i, name in enumerate(arms)}
    figure, places = _lay_out(len(panels), len(arms))
    with_label: dict[tuple[str, bool], Axes] = {}
    for axes, panel in zip(places, panels):
        if panel.is_log:
            axes.set_yscale("log")
        if len(positions) == 1:
            _draw_points(axes, panel, colours)
        else:
            _draw_lines(axes, panel, colours, np.asarray(positions))
            axes.set_xlabel(xlabel)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_title(panel.title, fontsize="medium")
        axes.set_ylabel(panel.ylabel)
        axes.grid(alpha=0.3)
        axes.sharey(with_label.setdefault((panel.ylabel, panel.is_log), axes))
    if len(positions) > 1:
        _add_legend(figure, panels, places)
    return figure


def _add_legend(figure: Figure, panels: Sequence[Panel], places: Sequence[Axes]) -> None:
    """An entry for each arm, with how many of its seeds there are in the panel that has fewest."""
    entries: dict[str, tuple[int, Line2D]] = {}
    for panel, axes in zip(panels, places):
        for (name, arm), line in zip(panel.arms.items(), axes.lines):
            found = len(_finished(arm)), line
            entries[name] = min(entries.get(name, found), found, key=lambda entry: entry[0])
    figure.legend(
        handles=[line for _, line in entries.values()],
        # Above the curves: inside it would hide some of them.
        loc="outside upper center",
        ncols=_legend_columns(len(panels)),
        fontsize="small",
        frameon=False,
    )


def _legend_columns(panels: int) -> int:
    return 2 if panels == 1 else 3


def _lay_out(panels: int, arms: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure with so many axes, in rows of two or three, and room for the legend."""
    legend_rows = -(-arms // _legend_columns(panels))
    columns = {1: 1, 2: 2, 4: 2}.get(panels, 3)
    rows = -(-panels // columns)
    width, height = (9, 4.2) if panels == 1 else (4.5 * columns, 3.3 * rows)
    figure = Figure(figsize=(width, height + 0.2 * legend_rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]


def _draw_lines(
    axes: Axes, panel: Panel, colours: Mapping[str, str], positions: np.ndarray
) -> None:
    for name, arm in panel.arms.items():
        mean, low, high = _summary(arm, panel.is_log)
        x, color = positions[: len(mean)], colours[name]
        marker = "." if len(x) <= _MAX_MARKERS else ""
        axes.plot(x, mean, marker=marker, label=_label(name, arm), color=color)
        axes.fill_between(x, low, high, color=color, alpha=0.2)


def _draw_points(axes: Axes, panel: Panel, colours: Mapping[str, str]) -> None:
    for i, (name, arm) in enumerate(panel.arms.items()):
        mean, low, high = _summary(arm, panel.is_log)
        error = [mean - low, high - mean]
        axes.errorbar([i], mean, error, fmt="o", capsize=4, color=colours[name])
    axes.set_xticks(range(len(panel.arms)), [_label(name, arm) for name, arm in panel.arms.items()])
    axes.set_xlim(-0.5, len(panel.arms) - 0.5)


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

"""Learning curves of runs, from the CSV files that training writes."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

from analysis import reference_scores
from configs import checks

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_WINDOW_EPISODES = 20


class Run(NamedTuple):
    """A run's numbers.

    Attributes:
      path: its directory.
      label: configuration and environment, for the legend.
      random_score: the score of a uniformly random policy, None where it is not known.
      tables: columns of numbers by file and column name; text columns are left as text.
    """

    path: Path
    label: str
    random_score: float | None
    tables: dict[str, dict[str, np.ndarray]]


def load(path: Path) -> Run:
    """Reads the CSV files of the run in a directory.

    Raises:
      ConfigError: if there is no run, or it has not written anything yet.
    """
    if not (path / "config.json").exists():
        raise checks.ConfigError(f"{path}: expected the directory of a run")
    config = json.loads((path / "config.json").read_text())
    names = ("train", "episodes", "evaluation", "layers")
    tables = {name: read_table(path / f"{name}.csv") for name in names}
    if not tables["train"]:
        raise checks.ConfigError(f"{path}: the run has not logged anything yet")
    environment = config["environment"]
    game = environment.get("game", environment.get("id", environment["module"]))
    protocol = environment.get("protocol", "")
    label = f"{config['name']}, {game}" + (f" ({protocol})" if protocol else "")
    return Run(path, label, _random_score(game), tables)


def _random_score(game: str) -> float | None:
    scores = reference_scores.SCORES.get(game)
    return scores.random if scores else None


def read_table(path: Path) -> dict[str, np.ndarray]:
    """A CSV file as columns, numbers where all values are; {} if the file does not exist.

    A last row that is not whole (the run goes on, or was killed) is left out.
    """
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        header, *rows = list(csv.reader(stream)) or [[]]
    rows = [row for row in rows if len(row) == len(header)]
    columns = zip(*rows) if rows else ([] for _ in header)
    return {name: _to_array(values) for name, values in zip(header, columns)}


def _to_array(values: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        return np.array(values)


def draw(runs: Sequence[Run], with_layers: bool = False) -> Figure:
    """A figure with the training and evaluation returns, and per-layer panels if asked."""
    panels = 3 if with_layers else 1
    figure, axes = plt.subplots(1, panels, figsize=(7 * panels, 4.5), squeeze=False)
    draw_returns(axes[0, 0], runs)
    if with_layers:
        for run in runs:
            draw_layers(axes[0, 1], run, "norm", "parameter norm ||W||")
            draw_layers(axes[0, 2], run, "update_ratio", "relative update ||dW|| / ||W||")
    figure.tight_layout()
    return figure


def draw_returns(axes: plt.Axes, runs: Sequence[Run]) -> None:
    """Training episodes (moving mean) as lines, evaluations as points with their deviation."""
    for i, run in enumerate(runs):
        color = f"C{i}"
        episodes, evaluations = run.tables["episodes"], run.tables["evaluation"]
        if episodes and len(episodes["return"]):
            frames, mean = moving_mean(episodes["frames"], episodes["return"])
            axes.plot(frames / 1e3, mean, color=color, alpha=0.7, label=f"{run.label}, training")
        if evaluations:
            axes.errorbar(
                evaluations["frames"] / 1e3,
                evaluations["mean_return"],
                evaluations["std_return"] / np.sqrt(evaluations["episodes"]),
                fmt="o",
                color=color,
                capsize=3,
                label=f"{run.label}, evaluation",
            )
    for score in sorted({run.random_score for run in runs if run.random_score is not None}):
        axes.axhline(score, color="grey", linestyle=":", label="random policy")
    axes.set_xlabel("frames (thousands)")
    axes.set_ylabel("episode return")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def draw_layers(axes: plt.Axes, run: Run, column: str, title: str) -> None:
    """A quantity of each layer with weights, on a logarithmic scale."""
    table = run.tables["layers"]
    if table:
        for layer in sorted(set(table["layer"].tolist())):
            rows = (table["layer"] == layer) & (table["seed"] == table["seed"].min())
            axes.plot(table["frames"][rows] / 1e3, table[column][rows], label=layer)
    axes.set_yscale("log")
    axes.set_xlabel("frames (thousands)")
    axes.set_title(f"{title}\n{run.label}", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small")


def moving_mean(frames: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over windows of a fifth of the episodes, 20 at most, at the windows' last frames."""
    window = max(1, min(_WINDOW_EPISODES, len(returns) // 5))
    sums = np.concatenate([[0.0], np.cumsum(returns)])
    return frames[window - 1 :], (sums[window:] - sums[:-window]) / window


def use_windows() -> None:
    """Prepares for `show`.

    Raises:
      ConfigError: if there is no display, or no toolkit to draw windows with.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise checks.ConfigError(
            "show: no display (neither DISPLAY nor WAYLAND_DISPLAY is set); without --show the "
            "picture is written to --output"
        )
    try:
        plt.switch_backend("TkAgg")
    except ImportError as error:
        raise checks.ConfigError(f"show: no windows can be drawn: {error}") from error


def show() -> None:
    """Opens the figures' windows and waits until they are closed."""
    plt.show()


def save(figure: Figure, path: Path) -> None:
    """Writes the figure.

    Raises:
      ConfigError: if the ending or the directory is not usable.
    """
    endings = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix.lstrip(".") not in endings or not path.parent.is_dir():
        raise checks.ConfigError(
            f"output = {str(path)!r}: expected a file in a directory that exists, ending in one "
            f"of {', '.join(endings)}"
        )
    figure.savefig(path, dpi=120)

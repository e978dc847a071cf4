"""Learning curves of runs, from the CSV files that training writes."""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from analysis import reference_scores
from analysis import runs as runs_lib
from configs import checks

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_WINDOW_EPISODES = 20


def label(run: runs_lib.Run) -> str:
    """Configuration, game and protocol, for the legend."""
    protocol = run.config["environment"].get("protocol", "")
    game = f"{len(run.games)} games" if run.is_sequence else run.games[0]
    return f"{run.name}, {game}" + (f" ({protocol})" if protocol else "")


def _random_score(run: runs_lib.Run) -> float | None:
    """Of a uniformly random policy; None where it is not known, or there are several games."""
    scores = None if run.is_sequence else reference_scores.SCORES.get(run.games[0])
    return scores.random if scores else None


def draw(runs: Sequence[runs_lib.Run], with_layers: bool = False) -> Figure:
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


def draw_returns(axes: plt.Axes, runs: Sequence[runs_lib.Run]) -> None:
    """Training episodes (moving mean) as lines, evaluations as points with their deviation."""
    for i, run in enumerate(runs):
        color = f"C{i}"
        episodes, evaluations = run.tables["episodes"], run.tables["evaluation"]
        if episodes and len(episodes["return"]):
            frames, mean = moving_mean(episodes["frames"], episodes["return"])
            axes.plot(frames / 1e3, mean, color=color, alpha=0.7, label=f"{label(run)}, training")
        if evaluations:
            axes.errorbar(
                evaluations["frames"] / 1e3,
                evaluations["mean_return"],
                evaluations["std_return"] / np.sqrt(evaluations["episodes"]),
                fmt="o",
                color=color,
                capsize=3,
                label=f"{label(run)}, evaluation",
            )
    for score in sorted({score for run in runs if (score := _random_score(run)) is not None}):
        axes.axhline(score, color="grey", linestyle=":", label="random policy")
    axes.set_xlabel("frames (thousands)")
    axes.set_ylabel("episode return")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def draw_layers(axes: plt.Axes, run: runs_lib.Run, column: str, title: str) -> None:
    """A quantity of each layer with weights, on a logarithmic scale."""
    table = run.tables["layers"]
    if table:
        for layer in sorted(set(table["layer"].tolist())):
            rows = (table["layer"] == layer) & (table["seed"] == table["seed"].min())
            axes.plot(table["frames"][rows] / 1e3, table[column][rows], label=layer)
    axes.set_yscale("log")
    axes.set_xlabel("frames (thousands)")
    axes.set_title(f"{title}\n{label(run)}", fontsize="medium")
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

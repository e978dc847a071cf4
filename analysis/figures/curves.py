"""Learning curves of runs, from the CSV files that training writes."""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from analysis import reference_scores, run_records
from analysis.figures.colours import colour
from core import checks

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_WINDOW_EPISODES = 20


def label(run: run_records.RunRecord) -> str:
    """Configuration, game and protocol, for the legend."""
    protocol = run.config["environment"].get("protocol", "")
    game = f"{len(run.games)} games" if run.is_sequence else run.games[0]
    return f"{run.name}, {game}" + (f" ({protocol})" if protocol else "")


def _random_score(run: run_records.RunRecord) -> float | None:
    """Score of a uniformly random policy; None if unknown, or if there are several games."""
    scores = None if run.is_sequence else reference_scores.SCORES.get(run.games[0])
    return scores.random if scores else None


def draw(runs: Sequence[run_records.RunRecord], with_layers: bool = False) -> Figure:
    """A figure with the training and evaluation returns, and per-layer panels if asked.

    Those of each measured run are a row of their own. Returns are left out where layers are asked
    for and no run has any.

    Raises:
      ConfigError: if no layer of any run was measured, and per-layer panels are asked for.
    """
    measured = [run for run in runs if len(run.tables["layers"].get("frames", ()))]
    if with_layers and not measured:
        paths = ", ".join(str(run.path) for run in runs)
        raise checks.ConfigError(
            f"layers: no layer was measured in {paths} yet: expected a run that is past its "
            "first log.layers_period_frames (0: never), or no --layers"
        )
    with_returns = not with_layers or any(_has_returns(run) for run in runs)
    rows, columns = (len(measured), 2 + with_returns) if with_layers else (1, 1)
    size = (7 * columns, 4.5 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    if with_returns:
        draw_returns(axes[0, 0], runs)
        for unused in axes[1:, 0]:
            unused.axis("off")
    if with_layers:
        for (*_, norms, updates), run in zip(axes, measured, strict=True):
            draw_layers(norms, run, "norm", "parameter norm ||W||")
            draw_layers(updates, run, "update_ratio", "relative update ||dW|| / ||W||")
    return figure


def _has_returns(run: run_records.RunRecord) -> bool:
    return any(len(run.tables[name].get("frames", ())) for name in ("episodes", "evaluation"))


def draw_returns(axes: plt.Axes, runs: Sequence[run_records.RunRecord]) -> None:
    """Training episodes (moving mean) as lines, evaluations as points with their standard error.

    Each seed of a run has its own line and points, in the run's colour.
    """
    for i, run in enumerate(runs):
        for j, seed in enumerate(run.seeds):
            _draw_returns_of_seed(axes, run, seed, colour(i, len(runs)), is_first=j == 0)
    for score in sorted({score for run in runs if (score := _random_score(run)) is not None}):
        axes.axhline(score, color="grey", linestyle=":", label="random policy")
    axes.autoscale_view()  # which axhline leaves to others
    axes.set_xlabel("frames (thousands)")
    axes.set_ylabel("episode return")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        # Inside it would hide a curve, or the random policy's line.
        axes.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), frameon=False)


def _draw_returns_of_seed(
    axes: plt.Axes, run: run_records.RunRecord, seed: int, color: str, is_first: bool
) -> None:
    """Adds a seed; a run's first seed stands for it in the legend."""
    episodes = _of_seed(run.tables["episodes"], seed)
    evaluations = _of_seed(run.tables["evaluation"], seed)
    seeds = f", {len(run.seeds)} seeds" if len(run.seeds) > 1 else ""
    name = f"{label(run)}{seeds}"
    if episodes and len(episodes["return"]):
        frames, mean = moving_mean(episodes["frames"], episodes["return"])
        shown = f"{name}, training" if is_first else None
        axes.plot(frames / 1e3, mean, color=color, alpha=0.7, label=shown)
    if evaluations and len(evaluations["frames"]):
        axes.errorbar(
            evaluations["frames"] / 1e3,
            evaluations["mean_return"],
            evaluations["std_return"] / np.sqrt(evaluations["episodes"]),
            fmt="o",
            color=color,
            capsize=3,
            label=f"{name}, evaluation" if is_first else None,
        )


def draw_layers(axes: plt.Axes, run: run_records.RunRecord, column: str, title: str) -> None:
    """A quantity of each layer with weights, on a logarithmic scale; a line for each seed."""
    table = run.tables["layers"]
    for i, layer in enumerate(sorted(set(table["layer"].tolist()))):
        for j, seed in enumerate(sorted(set(table["seed"].tolist()))):
            rows = (table["layer"] == layer) & (table["seed"] == seed)
            shown = layer if j == 0 else None
            axes.plot(table["frames"][rows] / 1e3, table[column][rows], _style(i), label=shown)
    axes.set_yscale("log")
    axes.set_xlabel("frames (thousands)")
    axes.set_title(f"{title}\n{label(run)}", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))


def _style(number: int) -> str:
    """A colour; dashed from the eleventh on, as there are ten."""
    return f"C{number % 10}{'-' if number < 10 else '--'}"


def _of_seed(table: run_records.Columns, seed: int) -> run_records.Columns:
    """The rows of one seed."""
    if "seed" not in table:
        return table
    rows = table["seed"] == seed
    return {name: values[rows] for name, values in table.items()}


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
      ConfigError: if the ending or the directory is not usable, or the file can't be written.
    """
    endings = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix.lstrip(".") not in endings or not path.parent.is_dir():
        raise checks.ConfigError(
            f"output = {str(path)!r}: expected a file in a directory that exists, ending in one "
            f"of {', '.join(endings)}"
        )
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise checks.ConfigError(f"output = {str(path)!r}: not written: {error}") from error

"""The figures of a comparison report. Arms keep their colour from figure to figure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np

from analysis import comparison, continual, reference_scores, statistics
from analysis import runs as runs_lib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_BINS = 20
_PROFILE_POINTS = 81

STATISTICS: dict[str, Callable[[statistics.Scores], np.ndarray]] = {
    "median": statistics.median,
    "IQM": statistics.iqm,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}


def aggregates(arms: Sequence[comparison.Arm]) -> Figure:
    """Statistics of human-normalized scores with 95 % intervals, a panel each."""
    figure, axes = _panels(len(STATISTICS), len(STATISTICS), height=0.5 + 0.35 * len(arms))
    for axis, (name, statistic) in zip(axes, STATISTICS.items()):
        for i, arm in enumerate(arms):
            scores = comparison.normalized(comparison.final_returns(arm))
            interval = statistics.stratified_bootstrap(statistic, scores)
            axis.plot([interval.low, interval.high], [i, i], color=f"C{i}", linewidth=5, alpha=0.4)
            axis.plot(statistic(scores), i, "o", color=f"C{i}")
        axis.set_title(name)
        axis.set_yticks(range(len(arms)), [arm.label for arm in arms] if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.grid(alpha=0.3)
    return _tight(figure)


def profiles(arms: Sequence[comparison.Arm]) -> Figure:
    """Fraction of runs above each human-normalized score, with 95 % bands."""
    figure, (axis,) = _panels(1, 1)
    scores = [comparison.normalized(comparison.final_returns(arm)) for arm in arms]
    top = max(float(values.max()) for by_game in scores for values in by_game.values())
    thresholds = np.linspace(0, max(top, 0.05) * 1.05, _PROFILE_POINTS)
    for i, (arm, by_game) in enumerate(zip(arms, scores)):
        profile = lambda s: statistics.performance_profile(s, thresholds)  # noqa: E731
        band = statistics.stratified_bootstrap(profile, by_game)
        axis.plot(thresholds, profile(by_game), color=f"C{i}", label=arm.label)
        axis.fill_between(thresholds, band.low, band.high, color=f"C{i}", alpha=0.15)
    axis.set(xlabel="human-normalized score", ylabel="fraction of runs above")
    return _finish(figure, axis)


def improvements(arms: Sequence[comparison.Arm]) -> Figure:
    """Probability that a run of an arm is above one of the first arm, with 95 % intervals."""
    others = arms[1:]
    figure, (axis,) = _panels(1, 1, height=0.8 + 0.4 * len(others))
    first = comparison.normalized(comparison.final_returns(arms[0]))
    for i, arm in enumerate(others):
        scores = comparison.normalized(comparison.final_returns(arm))
        statistic = statistics.probability_of_improvement
        interval = statistics.stratified_bootstrap(statistic, scores, first)
        color = f"C{i + 1}"
        axis.plot([interval.low, interval.high], [i, i], color=color, linewidth=5, alpha=0.4)
        axis.plot(statistic(scores, first), i, "o", color=color)
    axis.axvline(0.5, color="grey", linestyle=":")
    axis.set_yticks(range(len(others)), [arm.label for arm in others])
    axis.set(xlim=(0, 1), xlabel=f"P(above {arms[0].label})", ylim=(len(others) - 0.5, -0.5))
    return _tight(figure)


def curves(arms: Sequence[comparison.Arm], games: Sequence[str]) -> Figure:
    """Training returns per game: mean over seeds and their range; evaluations as points."""
    figure, axes = _panels(len(games), 3)
    for axis, game in zip(axes, games):
        for i, arm in enumerate(arms):
            runs = [run for run in arm.runs if run.games == (game,)]
            _draw_curve(axis, list(_binned_returns(runs)), f"C{i}", arm.label)
            _draw_evaluations(axis, runs, f"C{i}")
        if game in reference_scores.SCORES:
            axis.axhline(reference_scores.SCORES[game].random, color="grey", linestyle=":")
        axis.set(title=game, xlabel="frames (thousands)", ylabel="episode return")
        axis.grid(alpha=0.3)
    _add_legend(axes[0], "x-small")
    return _tight(figure)


def _binned_returns(runs: Sequence[runs_lib.Run]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames and mean returns of each seed's training episodes, nan in bins without one."""
    for run in runs:
        table = run.tables["episodes"]
        edges = np.linspace(0, run.config["num_frames"], _BINS + 1)
        for seed in run.seeds:
            rows = table["seed"] == seed if table else np.zeros(0, bool)
            frames, returns = (
                table[k][rows] if table else np.zeros(0) for k in ("frames", "return")
            )
            bins = np.digitize(frames, edges[1:-1])
            counts = np.bincount(bins, minlength=_BINS)
            sums = np.bincount(bins, returns, minlength=_BINS)
            means = np.divide(sums, counts, out=np.full(_BINS, np.nan), where=counts > 0)
            yield (edges[:-1] + edges[1:]) / 2, means


def _draw_curve(axis: Any, seeds: list[tuple[np.ndarray, np.ndarray]], color: str, label: str):
    if not seeds:
        return
    frames, returns = seeds[0][0] / 1e3, np.stack([means for _, means in seeds])
    there = ~np.isnan(returns).all(axis=0)
    frames, returns = frames[there], returns[:, there]
    axis.plot(frames, np.nanmean(returns, axis=0), color=color, label=label)
    low, high = np.nanmin(returns, axis=0), np.nanmax(returns, axis=0)
    axis.fill_between(frames, low, high, color=color, alpha=0.15)


def _draw_evaluations(axis: Any, runs: Sequence[runs_lib.Run], color: str) -> None:
    rows = [row for run in runs for row in run.evaluations()]
    axis.plot([r.frames / 1e3 for r in rows], [r.mean_return for r in rows], "o", color=color, ms=4)


def pass_returns(arms: Sequence[comparison.Arm]) -> Figure:
    """Returns at the end of each game, first and second pass, a panel per game."""
    games = arms[0].runs[0].games
    figure, axes = _panels(len(games), 4, height=2.6)
    for i, arm in enumerate(arms):
        for number, one in enumerate(continual.passes(arm)):
            for axis, game in zip(axes, games):
                values = one.returns.get(game, np.zeros(0))
                x = np.full(len(values), number + (i - (len(arms) - 1) / 2) * 0.15)
                label = arm.label if number == 0 else None
                axis.plot(x, values, "o", color=f"C{i}", alpha=0.7, ms=5, label=label)
    for axis, game in zip(axes, games):
        if game in reference_scores.SCORES:
            axis.axhline(reference_scores.SCORES[game].random, color="grey", linestyle=":")
        axis.set_xticks([0, 1], ["first pass", "second pass"])
        axis.set(title=game, xlim=(-0.5, 1.5))
        axis.grid(alpha=0.3)
    _add_legend(axes[0], "xx-small")
    return _tight(figure)


def transfer(matrix: continual.Transfer, title: str) -> Figure:
    """Human-normalized scores on every game after each game of a run."""
    figure, (axis,) = _panels(1, 1, height=1.2 + 0.25 * len(matrix.tasks))
    image = axis.imshow(matrix.returns, aspect="auto", cmap="viridis")
    axis.set_xticks(range(len(matrix.games)), matrix.games, rotation=60, ha="right")
    axis.set_yticks(range(len(matrix.tasks)), matrix.tasks)
    axis.set(title=title, ylabel="after game")
    figure.colorbar(image, label="human-normalized score")
    return _tight(figure)


def layers(arms: Sequence[comparison.Arm]) -> Figure:
    """Norms of the hidden layers relative to the first measurement, and relative updates."""
    figure, axes = _panels(2, 2)
    for i, arm in enumerate(arms):
        for run in arm.runs:
            table = run.tables["layers"]
            if table:
                frames, norm, ratio = _hidden_layers(table)
                first = not axes[0].get_legend_handles_labels()[1].count(arm.label)
                label = arm.label if first else None
                axes[0].plot(frames / 1e3, norm, color=f"C{i}", alpha=0.6, label=label)
                axes[1].plot(frames / 1e3, ratio, color=f"C{i}", alpha=0.6, label=label)
    axes[0].set(title="norm of hidden layers, relative", xlabel="frames (thousands)")
    axes[1].set(title="||dW|| / ||W|| of one update", xlabel="frames (thousands)", yscale="log")
    for axis in axes:
        axis.grid(alpha=0.3)
    _add_legend(axes[0], "x-small")
    return _tight(figure)


def _hidden_layers(table: runs_lib.Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, and geometric means over the hidden layers with weights of the first seed."""
    seeds = table["seed"] == table["seed"].min()
    names = sorted(set(table["layer"][seeds].tolist()))
    hidden = [name for name in names if "output" not in name and "norm" not in name]
    columns = [seeds & (table["layer"] == name) for name in hidden]
    norms = np.stack([table["norm"][rows] / table["norm"][rows][0] for rows in columns])
    ratios = np.stack([table["update_ratio"][rows] for rows in columns])
    with np.errstate(divide="ignore"):
        means = [np.exp(np.log(x).mean(axis=0)) for x in (norms, ratios)]
    return table["frames"][columns[0]], means[0], means[1]


def _panels(number: int, columns: int, height: float = 3.2) -> tuple[Figure, Sequence[Any]]:
    columns = min(number, columns)
    rows = -(-number // columns)
    width = 3.4 * columns if columns > 1 else 6.0
    figure, axes = plt.subplots(rows, columns, figsize=(width, height * rows), squeeze=False)
    flat = list(axes.ravel())
    for unused in flat[number:]:
        unused.axis("off")
    return figure, flat[:number]


def _finish(figure: Figure, axis: Any) -> Figure:
    axis.grid(alpha=0.3)
    _add_legend(axis, "small")
    return _tight(figure)


def _add_legend(axis: Any, size: str) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=size)


def _tight(figure: Figure) -> Figure:
    figure.tight_layout()
    return figure

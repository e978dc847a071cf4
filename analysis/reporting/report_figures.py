"""The figures of a comparison report. Arms keep their colour from figure to figure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from analysis import (
    branches,
    comparison,
    continual,
    reference_scores,
    run_records,
    statistics,
)
from analysis.figures import metric_curves
from analysis.figures.colours import colour

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
            if not (scores := _scores(arm)):
                continue
            interval = statistics.stratified_bootstrap(statistic, scores)
            color = colour(i, len(arms))
            axis.plot([interval.low, interval.high], [i, i], color=color, linewidth=5, alpha=0.4)
            axis.plot(statistic(scores), i, "o", color=color)
        axis.set_title(name)
        axis.set_yticks(range(len(arms)), [arm.label for arm in arms] if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.grid(alpha=0.3)
    return _tight(figure)


def profiles(arms: Sequence[comparison.Arm]) -> Figure:
    """Fraction of runs above each human-normalized score, with 95 % bands."""
    figure, (axis,) = _panels(1, 1)
    scores = [_scores(arm) for arm in arms]
    top = max(float(values.max()) for by_game in scores for values in by_game.values())
    thresholds = np.linspace(0, max(top, 0.05) * 1.05, _PROFILE_POINTS)
    for i, (arm, by_game) in enumerate(zip(arms, scores)):
        if not by_game:
            continue
        profile = lambda s: statistics.performance_profile(s, thresholds)  # noqa: E731
        band = statistics.stratified_bootstrap(profile, by_game)
        color = colour(i, len(arms))
        axis.plot(thresholds, profile(by_game), color=color, label=arm.label)
        axis.fill_between(thresholds, band.low, band.high, color=color, alpha=0.15)
    axis.set(xlabel="human-normalized score", ylabel="fraction of runs above")
    return _finish(figure, axis)


def comparable_with_first(arms: Sequence[comparison.Arm]) -> list[int]:
    """The numbers of the arms that share a game with the first one."""
    first = _scores(arms[0])
    return [i for i, arm in enumerate(arms) if i and first.keys() & _scores(arm).keys()]


def improvements(arms: Sequence[comparison.Arm], others: Sequence[int]) -> Figure:
    """Probability that a run of an arm is above one of the first arm, with 95 % intervals.

    Args:
      arms: all of them.
      others: the numbers of those to compare with the first.
    """
    figure, (axis,) = _panels(1, 1, height=0.8 + 0.4 * len(others))
    first, statistic = _scores(arms[0]), statistics.probability_of_improvement
    for row, i in enumerate(others):
        scores = _scores(arms[i])
        interval = statistics.stratified_bootstrap(statistic, scores, first)
        color = colour(i, len(arms))
        axis.plot([interval.low, interval.high], [row, row], color=color, linewidth=5, alpha=0.4)
        axis.plot(statistic(scores, first), row, "o", color=color)
    axis.axvline(0.5, color="grey", linestyle=":")
    axis.set_yticks(range(len(others)), [arms[i].label for i in others])
    axis.set(xlim=(0, 1), xlabel=f"P(above {arms[0].label})", ylim=(len(others) - 0.5, -0.5))
    return _tight(figure)


def _scores(arm: comparison.Arm) -> statistics.Scores:
    return comparison.normalized(comparison.final_returns(arm))


def curves(arms: Sequence[comparison.Arm], games: Sequence[str]) -> Figure:
    """Training returns per game: mean over seeds and their range; evaluations as points."""
    figure, axes = _panels(len(games), 3)
    for axis, game in zip(axes, games):
        for i, arm in enumerate(arms):
            runs = [run for run in arm.runs if run.games == (game,)]
            _draw_curve(axis, list(_binned_returns(runs)), colour(i, len(arms)), arm.label)
            _draw_evaluations(axis, runs, colour(i, len(arms)))
        if game in reference_scores.SCORES:
            axis.axhline(reference_scores.SCORES[game].random, color="grey", linestyle=":")
        axis.set(title=game, xlabel="frames (thousands)", ylabel="episode return")
        axis.grid(alpha=0.3)
    _add_legend(axes[0], "x-small")
    return _tight(figure)


def _binned_returns(
    runs: Sequence[run_records.RunRecord],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def _draw_evaluations(axis: Any, runs: Sequence[run_records.RunRecord], color: str) -> None:
    rows = [row for run in runs for row in run.evaluations()]
    axis.plot([r.frames / 1e3 for r in rows], [r.mean_return for r in rows], "o", color=color, ms=4)


def branch_returns(groups: Mapping[tuple[str, int, str], Sequence[branches.Pair]]) -> Figure:
    """Training returns of runs and of their branches, a panel per kind of run and moment.

    Args:
      groups: pairs by run, frame and what the branch changes.
    """
    places = list(dict.fromkeys((games, frames) for games, frames, _ in groups))
    figure, axes = _panels(len(places), 3)
    for axis, place in zip(axes, places):
        there = {label: pairs for (*where, label), pairs in groups.items() if (*where,) == place}
        left = {pair.run.path: pair.run for pairs in there.values() for pair in pairs}
        _draw_curve(axis, list(_binned_returns(list(left.values()))), "grey", "untouched")
        for i, (label, pairs) in enumerate(there.items()):
            returns = list(_binned_returns([pair.branch for pair in pairs]))
            _draw_curve(axis, returns, colour(i, len(there)), label)
        axis.axvline(place[1] / 1e3, color="grey", linestyle=":")
        axis.set(title=place[0], xlabel="frames (thousands)", ylabel="episode return")
        axis.grid(alpha=0.3)
        _add_legend(axis, "x-small")
    return _tight(figure)


def pass_returns(arms: Sequence[comparison.Arm]) -> Figure:
    """Returns before each game is left, pass by pass, a panel per game."""
    games = list(dict.fromkeys(arms[0].runs[0].games))
    last, apart = 1, min(0.15, 0.8 / len(arms))
    figure, axes = _panels(len(games), 4, height=2.6)
    for i, arm in enumerate(arms):
        for j, one in enumerate(continual.passes(arm)):
            last = max(last, one.number)
            for axis, game in zip(axes, games):
                values = list(one.returns[game].values())
                x = np.full(len(values), one.number + (i - (len(arms) - 1) / 2) * apart)
                label, color = arm.label if j == 0 else None, colour(i, len(arms))
                axis.plot(x, values, "o", color=color, alpha=0.7, ms=5, label=label)
    for axis, game in zip(axes, games):
        if game in reference_scores.SCORES:
            axis.axhline(reference_scores.SCORES[game].random, color="grey", linestyle=":")
        axis.set_xticks(range(1, last + 1), [f"pass {number}" for number in range(1, last + 1)])
        axis.set(title=game, xlim=(0.5, last + 0.5), ylabel="evaluation return")
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


def layers(arms: Sequence[comparison.Arm]) -> Figure | None:
    """Norms of the hidden layers relative to the first measurement, and relative updates.

    None if nothing was measured.
    """
    measured = [
        [m for run in arm.runs if (m := _hidden_layers(run.tables["layers"]))] for arm in arms
    ]
    if not any(measured):
        return None
    figure, axes = _panels(2, 2)
    for i, (arm, of_arm) in enumerate(zip(arms, measured)):
        for j, (frames, norm, ratio) in enumerate(of_arm):
            label = arm.label if j == 0 else None
            for axis, values in zip(axes, (norm, ratio)):
                color = colour(i, len(arms))
                axis.plot(frames / 1e3, values, color=color, alpha=0.6, label=label)
    axes[0].set(title="norm of hidden layers, relative", xlabel="frames (thousands)")
    axes[1].set(title="||dW|| / ||W|| of one update", xlabel="frames (thousands)", yscale="log")
    for axis in axes:
        axis.grid(alpha=0.3)
    _add_legend(axes[0], "x-small")
    return _tight(figure)


TRAINABILITY = (
    "units.dormant_0.025",
    "units.dead",
    "units.linearised",
    "ranks.feature_effective_rank",
    "layers.updated_units",
    "network.value_churn",
    "network.gradient_cosine_mean",
    "network.sharpness",
)
"""What a report shows of the metrics of trainability, where measured."""


def trainability(arms: Sequence[comparison.Arm]) -> Figure | None:
    """Metrics of trainability: means over hidden layers, and over runs and seeds with their range.

    A panel for each that was measured; None if none was.
    """
    runs = [run for arm in arms for run in arm.runs]
    metrics = [name for name in TRAINABILITY if name in metric_curves.available(runs)]
    if not metrics:
        return None
    figure, axes = _panels(len(metrics), 3)
    for axis, metric in zip(axes, metrics):
        for i, arm in enumerate(arms):
            _draw_metric(axis, arm, metric, colour(i, len(arms)))
        axis.set(title=metric, xlabel="frames (thousands)")
        axis.grid(alpha=0.3)
    _add_legend(axes[0], "x-small")
    return _tight(figure)


def _draw_metric(axis: Any, arm: comparison.Arm, metric: str, color: str) -> None:
    found = [c for run in arm.runs if (c := metric_curves.mean_over_layers(run, metric))]
    if not found:
        return
    by_moment: dict[float, list[np.ndarray]] = {}
    for curve in found:
        for frames, values in zip(curve.frames, curve.values.T):
            by_moment.setdefault(frames, []).append(values)
    frames = np.array(sorted(by_moment))
    seeds = [np.concatenate(by_moment[moment]) for moment in frames]
    axis.plot(frames / 1e3, [x.mean() for x in seeds], color=color, label=_counted(arm, seeds))
    low, high = ([f(x) for x in seeds] for f in (np.min, np.max))
    axis.fill_between(frames / 1e3, low, high, color=color, alpha=0.15)


def _counted(arm: comparison.Arm, seeds: Sequence[np.ndarray]) -> str:
    """The arm's label, with the numbers of seeds where they are not the same everywhere."""
    least, most = (f(len(x) for x in seeds) for f in (min, max))
    return arm.label if least == most else f"{arm.label} ({least} to {most} seeds)"


def _hidden_layers(table: run_records.Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Frames, and geometric means over the hidden layers of the first seed; None without any.

    Moments at which not all layers were written are left out.
    """
    if not table or not len(table["frames"]):
        return None
    of_seed = table["seed"] == table["seed"].min()
    hidden = [
        name for name in set(table["layer"][of_seed].tolist()) if metric_curves.is_hidden(name)
    ]
    rows = [np.flatnonzero(of_seed & (table["layer"] == name)) for name in sorted(hidden)]
    moments = min((len(r) for r in rows), default=0)
    if not moments:
        return None
    norms, ratios = (
        np.stack([table[column][r[:moments]] for r in rows]) for column in ("norm", "update_ratio")
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # gates begin at 0
        means = [_geometric_means(x) for x in (norms / norms[:, :1], ratios)]
    return table["frames"][rows[0][:moments]], means[0], means[1]


def _geometric_means(values: np.ndarray) -> np.ndarray:
    """Of [layers, moments] over the layers; without 0, as that of a layer that does not learn."""
    logs = np.log(np.where((values > 0) & np.isfinite(values), values, np.nan))
    numbers = np.sum(np.isfinite(logs), axis=0)
    return np.where(numbers, np.exp(np.nansum(logs, axis=0) / np.maximum(numbers, 1)), np.nan)


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

"""Figures of scores: runs of this project beside published agents, a panel per game."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

from analysis import reference_scores, score_tables, statistics
from analysis.figures.colours import colour

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_PANELS_IN_A_ROW = 3


def draw(
    own: Sequence[score_tables.ScoreColumn],
    published: Sequence[score_tables.ScoreColumn],
    games: Sequence[str],
) -> Figure:
    """A panel per game: unnormalized means, own ones with every seed and a 95 % interval.

    Published agents are diamonds; a dotted line is random play. The intervals are those of
    `statistics.stratified_bootstrap`, over seeds; a single seed has none.

    Args:
      own: columns of runs, each in a colour of its own.
      published: columns of published agents, below them.
      games: with reference scores.
    """
    columns = min(len(games), _PANELS_IN_A_ROW)
    rows = -(-len(games) // columns)
    height = 1.1 + 0.3 * (len(own) + len(published))
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 + 2.6 * columns, height * rows), sharey=True, squeeze=False
    )
    for axis, game in zip(axes.ravel(), games):
        _draw_game(axis, game, own, published)
    for unused in axes.ravel()[len(games) :]:
        unused.axis("off")
    labels = [column.label for column in (*own, *published)]
    axes[0, 0].set_yticks(range(len(labels)), labels)
    axes[0, 0].set_ylim(len(labels) - 0.5, -0.5)
    figure.tight_layout()
    return figure


def _draw_game(
    axis: Any,
    game: str,
    own: Sequence[score_tables.ScoreColumn],
    published: Sequence[score_tables.ScoreColumn],
) -> None:
    for i, column in enumerate(own):
        if game in column.scores:
            _draw_seeds(axis, column.scores[game], i, colour(i, len(own)))
    for i, column in enumerate(published, len(own)):
        if game in column.scores:
            axis.plot(column.scores[game], [i], "D", color="black", markersize=5)
    axis.axvline(reference_scores.get(game).random, color="grey", linestyle=":")
    axis.set(title=game, xlabel="unnormalized score")
    axis.grid(alpha=0.3)


def _draw_seeds(axis: Any, values: np.ndarray, row: int, color: str) -> None:
    if len(values) > 1:
        interval = statistics.stratified_bootstrap(statistics.mean, {"": values})
        axis.plot([interval.low, interval.high], [row, row], color=color, linewidth=6, alpha=0.35)
    axis.plot(values, [row] * len(values), "|", color=color, markersize=10)
    axis.plot([values.mean()], [row], "o", color=color)

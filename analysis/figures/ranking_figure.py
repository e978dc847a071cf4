"""Which metrics go with the probe's outcome: the figure of scripts.rank_metrics."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis import metric_ranking


def draw(ranked: Sequence[metric_ranking.Ranked]) -> Figure:
    """A row for each metric, the strongest on top."""
    figure = Figure(figsize=(9, 1.5 + 0.22 * len(ranked)), layout="constrained")
    axes = figure.add_subplot()
    rows = range(len(ranked))
    pooled = [row.pooled for row in ranked]
    axes.hlines(rows, [row.low for row in ranked], [row.high for row in ranked], color="C0")
    axes.plot(pooled, rows, "o", color="C0", label="all checkpoints, 95 % interval over runs")
    within = [row.within for row in ranked]
    axes.plot(within, rows, "|", color="C1", label="within a run, mean over runs")
    axes.axvline(0, color="grey", linestyle=":")
    axes.set_yticks(rows, [row.metric for row in ranked], fontsize="small")
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.set_xlim(-1, 1)
    axes.set_xlabel("rank correlation with the loss of a fit, over a new network's")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize="small", frameon=False)
    return figure

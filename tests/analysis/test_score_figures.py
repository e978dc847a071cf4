"""Figures of scores: what is drawn in each panel."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from analysis import score_tables
from analysis.figures import score_figures


@pytest.fixture
def axes():
    """Of two own columns and a published one on four games, in panels of two rows."""
    ours = {"pong": np.array([-5.0, 5.0, 3.0]), "boxing": np.array([1.0])}
    own = [
        score_tables.ScoreColumn("ours", "rules", ours),
        score_tables.ScoreColumn("other", "rules", {"alien": np.array([300.0, 400.0])}),
    ]
    published = [score_tables.ScoreColumn("theirs", "rules", {"pong": np.array([20.9])})]
    figure = score_figures.draw(own, published, ["pong", "boxing", "alien", "krull"])
    yield figure.axes
    plt.close(figure)


def _points(axis) -> dict[str, list[float]]:
    """Coordinates by marker; an interval's line has none."""
    return {str(line.get_marker()): np.asarray(line.get_xdata()).tolist() for line in axis.lines}


def test_panel_has_seeds_mean_interval_published_and_random(axes):
    interval, seeds, mean, theirs, random = axes[0].lines
    assert np.asarray(seeds.get_xdata()).tolist() == [-5.0, 5.0, 3.0]
    assert mean.get_xdata() == [1.0]
    low, high = np.asarray(interval.get_xdata())
    assert -5 <= low < 1 < high <= 5
    assert (theirs.get_xdata(), theirs.get_ydata()) == ([20.9], [2])
    assert random.get_xdata() == [-20.7, -20.7]
    assert (axes[0].get_title(), axes[0].get_xlabel()) == ("pong", "unnormalized score")


def test_single_seed_has_no_interval(axes):
    assert len(axes[1].lines) == 3
    assert _points(axes[1])["o"] == [1.0]


def test_rows_have_the_columns_names(axes):
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["ours", "other", "theirs"]
    assert len(axes[3].lines) == 1
    assert not axes[4].axison

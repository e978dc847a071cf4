"""Published scores: what the files hold, and the summaries that they are known for."""

import csv
from pathlib import Path

import numpy as np
import pytest

from analysis import published_scores, reference_scores, statistics
from core import checks

_DATA = Path(published_scores.__file__).parent / "data"


def _table() -> list[dict[str, str]]:
    with (_DATA / "atari57_scores.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_reference_scores_equal_the_files():
    found = {row["game"]: (float(row["random"]), float(row["human"])) for row in _table()}
    assert found == dict(reference_scores.SCORES)


def test_agents_are_the_files_columns():
    columns = list(_table()[0])
    assert columns == ["game", "random", "human", *published_scores.AGENTS]
    assert all(name == agent.name for name, agent in published_scores.AGENTS.items())
    labels = [agent.label for agent in published_scores.AGENTS.values()]
    assert len(set(labels)) == len(labels)


def test_readme_names_every_column():
    text = (_DATA / "README.md").read_text()
    assert [name for name in _table()[0] if name != "game" and f"`{name}`" not in text] == []


def test_every_protocol_says_all_it_has_to():
    for agent in published_scores.AGENTS.values():
        assert all(agent.protocol), agent.name
        assert agent.protocol.frames == ("400k" if agent.name.endswith("_400k") else "200M")
        assert "\n" not in agent.protocol.describe()
    assert published_scores.ScoreProtocol(seeds="5").describe() == (
        "sticky actions: not documented; starts: not documented; life loss: not documented; "
        "actions: not documented; episode cap: not documented; returns: not documented; "
        "checkpoint: not documented; frames: not documented; seeds: 5"
    )


def test_scores_that_were_not_published_are_left_out():
    scores = published_scores.load()
    assert scores["rainbow_hessel2017_noop"]["pong"] == 20.9
    assert "jamesbond" not in scores["rainbow_hessel2017_noop"]
    assert "defender" not in scores["rainbow_dopamine_sticky_200M"]
    assert len(scores["dreamerv3_200M"]) == 57


@pytest.mark.parametrize(
    ("agent", "games", "median", "mean", "iqm", "above_human"),
    [
        ("rainbow_hessel2017_noop", 54, 2.27, 13.89, 2.71, 40),
        ("rainbow_hessel2017_humanstart", 54, 1.48, 12.64, 2.05, 35),
        ("rainbow_pfrl_best", 55, 2.47, 12.95, 3.26, 43),
        ("rainbow_dopamine_sticky_200M", 55, 1.48, 8.97, 1.74, 39),
        ("rainbow_impala_dopamine_sticky_200M", 55, 1.78, 11.13, 2.54, 42),
        ("der_van_hasselt2019_400k", 26, 0.16, 0.29, 0.14, 2),
    ],
)
def test_summaries(agent, games, median, mean, iqm, above_human):
    normalized = {
        game: np.array([reference_scores.human_normalized(game, score)])
        for game, score in published_scores.load()[agent].items()
    }
    assert len(normalized) == games
    assert round(float(statistics.median(normalized)), 2) == median
    assert round(float(statistics.mean(normalized)), 2) == mean
    assert round(float(statistics.iqm(normalized)), 2) == iqm
    assert sum(score > 1 for score in normalized.values()) == above_human


def test_human_normalized_score():
    # Pong: random -20.7, human 14.6, so a unit is 35.3 points.
    scores = np.array([-20.7, 14.6, -3.05, -56.0])
    np.testing.assert_allclose(
        reference_scores.human_normalized("pong", scores), [0, 1, 0.5, -1], atol=1e-12
    )
    with pytest.raises(checks.ConfigError, match="game = 'tetris': no reference scores"):
        reference_scores.human_normalized("tetris", 1.0)

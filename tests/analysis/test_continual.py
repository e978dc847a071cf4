"""Passes, changes, transfer and forgetting, by hand."""

import numpy as np
import pytest

from analysis import comparison, continual, run_records

# Human-normalized: boxing (x - 0.1) / 12, breakout (x - 1.7) / 28.8.
GAMES = ("boxing", "breakout")
SEQUENCE = {"environment.games": GAMES, "environment.frames_per_game": 48, "num_frames": 192}


def boxing(score):
    return 0.1 + 12 * score


def breakout(score):
    return 1.7 + 28.8 * score


@pytest.fixture
def make_arm(make_run):
    """(name, {seed: evaluations}, frames of some seeds) -> an arm of runs, two games twice."""

    def make(name, by_seed, frames=None):
        found = [
            make_run(name, "small", seed, rows, (frames or {}).get(seed), **SEQUENCE)
            for seed, rows in by_seed.items()
        ]
        return comparison.make_arms([run_records.load(path) for path in found])[0]

    return make


def normalized(one):
    return one.normalized(one.seeds)


def rows(*scores):
    """Evaluations in the middle and at the end of each game: only the end's has the score."""
    found = []
    for task, score in enumerate(scores):
        game = GAMES[task % 2]
        value = boxing(score) if game == "boxing" else breakout(score)
        found += [(48 * task + 24, task, game, -99.0), (48 * (task + 1), task, game, value)]
    return found


def test_passes_have_each_games_last_evaluation(make_arm):
    arm = make_arm("continual_nap", {2: rows(0.1, 0.2, 0.3, 0.4), 1: rows(0.5, 0.6, 0.7, 0.8)})
    first, second = continual.passes(arm)
    assert first.seeds == second.seeds == [1, 2]
    np.testing.assert_allclose(normalized(first)["boxing"], [0.5, 0.1])
    np.testing.assert_allclose(normalized(first)["breakout"], [0.6, 0.2])
    np.testing.assert_allclose(normalized(second)["boxing"], [0.7, 0.3])
    assert second.returns["breakout"] == pytest.approx({1: breakout(0.8), 2: breakout(0.4)})


def test_a_pass_that_is_not_complete_has_the_games_it_has(make_arm):
    arm = make_arm("continual_nap", {1: rows(0.1, 0.2, 0.3)})
    first, second = continual.passes(arm)
    assert first.seeds == [1]
    assert second.returns == {"boxing": {1: boxing(0.3)}, "breakout": {}}
    assert (second.seeds, normalized(second)) == ([], {})
    assert continual.change(second, first, same_runs=True) is None
    assert continual.passes(make_arm("continual_rainbow", {1: []})) == []


def test_a_game_that_is_not_left_yet_has_no_score(make_arm):
    """Seed 2 is in the middle of the second pass's last game, and was evaluated there."""
    scores = {1: rows(0.1, 0.2, 0.3, 0.5), 2: rows(0.4, 0.4, 0.4)}
    scores[2].append((168, 3, "breakout", -99.0))
    first, second = continual.passes(make_arm("continual_nap", scores, {2: 168}))
    assert second.returns["boxing"].keys() == {1, 2}
    assert second.returns["breakout"].keys() == {1}
    assert (first.seeds, second.seeds) == ([1, 2], [1])
    change = continual.change(second, first, same_runs=True)
    # Of seed 1 alone: (0.3 + 0.5) / 2 - (0.1 + 0.2) / 2
    assert change == pytest.approx((0.25, 0.25, 0.25, 1))


def test_of_a_game_that_comes_twice_in_a_pass_the_last_visit_counts(make_run):
    games = ("boxing", "breakout", "boxing", "breakout")
    settings = {**SEQUENCE, "environment.games": games}
    path = make_run("continual_nap", "small", 1, rows(0.1, 0.2, 0.3), frames=144, **settings)
    (arm,) = comparison.make_arms([run_records.load(path)])
    (one,) = continual.passes(arm)
    assert one.returns == {"boxing": {1: boxing(0.3)}, "breakout": {}}


def test_change_between_passes(make_arm):
    arm = make_arm("continual_nap", {1: rows(0.1, 0.2, 0.4, 0.3), 2: rows(0.1, 0.2, 0.4, 0.3)})
    first, second = continual.passes(arm)
    change = continual.change(second, first, same_runs=True)
    # Sorted, without a quarter at either end: (0.3 + 0.4) / 2 - (0.1 + 0.2) / 2
    assert change.value == pytest.approx(0.2)
    assert (change.low, change.high) == pytest.approx((0.2, 0.2))
    assert change.num_runs == 2


def test_change_has_an_interval_where_seeds_differ(make_arm):
    arm = make_arm("continual_nap", {1: rows(0.1, 0.2, 0.4, 0.3), 2: rows(0.2, 0.3, 0.9, 0.8)})
    first, second = continual.passes(arm)
    change = continual.change(second, first, same_runs=True)
    assert change.low < change.value < change.high
    # A seed is drawn with all its games: 0.2 if only seed 1 is, 0.6 if only seed 2 is.
    assert (change.low, change.high) == pytest.approx((0.2, 0.6))


def test_no_change_where_no_seed_has_all():
    whole = continual.Pass(1, {"boxing": {1: 0.1, 2: 0.1}, "breakout": {1: 1.7, 2: 1.7}})
    uneven = continual.Pass(2, {"boxing": {1: 12.1}, "breakout": {2: 30.5}})
    assert continual.change(uneven, whole, same_runs=False) is None
    other = continual.Pass(2, {"boxing": {3: 12.1}, "breakout": {3: 30.5}})
    assert continual.change(other, whole, same_runs=True) is None
    assert continual.change(other, whole, same_runs=False).value == pytest.approx(1)
    unknown = continual.Pass(1, {"tetris": {1: 1.0}})
    assert continual.change(unknown, unknown, same_runs=True) is None


def test_passes_keep_their_numbers(make_arm):
    """A run that was not evaluated in its first pass has a second one all the same."""
    arm = make_arm("continual_nap", {1: [(144, 2, "boxing", 1.0), (192, 3, "breakout", 2.0)]})
    assert [one.number for one in continual.passes(arm)] == [2]


def all_games(*tasks):
    """Evaluations of all games so far at each game's end; a tuple of scores per task."""
    found = []
    for task, scores in enumerate(tasks):
        for game, score in zip(GAMES, scores):
            value = boxing(score) if game == "boxing" else breakout(score)
            found.append((48 * (task + 1), task, game, value))
    return found


def test_transfer_matrix_forgetting_and_forward_transfer(make_arm):
    nap = make_arm(
        "continual_nap",
        {
            1: all_games((0.2,), (0.1, 0.6), (0.5, 0.3), (0.3, 0.9)),
            2: all_games((0.4,), (0.1, 0.6), (0.5, 0.3), (0.1, 0.9)),
        },
    )
    reset = make_arm("continual_reset", {1: all_games((0.1,), (0.0, 0.2), (0.1, 0.0), (0.0, 0.2))})
    matrix, control = continual.transfer(nap), continual.transfer(reset)
    assert matrix.tasks == ["1 boxing", "2 breakout", "3 boxing", "4 breakout"]
    expected = [[0.3, np.nan], [0.1, 0.6], [0.5, 0.3], [0.2, 0.9]]
    np.testing.assert_allclose(matrix.returns, expected)
    assert matrix.seeds == [1, 2]
    assert continual.forgetting(matrix) == pytest.approx({"boxing": 0.5 - 0.2})
    gained = continual.forward_transfer(matrix, control)
    assert gained == pytest.approx({"boxing": 0.3 - 0.1, "breakout": 0.6 - 0.2})
    assert continual.forward_transfer(matrix, None) is None


def test_no_matrix_if_only_the_present_game_was_played(make_arm):
    assert continual.transfer(make_arm("continual_nap", {1: rows(0.1, 0.2)})) is None


def test_transfer_is_of_seeds_that_have_all_evaluations(make_arm):
    """Otherwise forgetting would be a difference between other seeds."""
    scores = {
        1: all_games((0.2,), (0.1, 0.6), (0.5, 0.3), (0.3, 0.9)),
        2: all_games((0.9,), (0.9, 0.9), (0.9, 0.9)),
    }
    matrix = continual.transfer(make_arm("continual_nap", scores, {2: 168}))
    assert matrix.seeds == [1]
    np.testing.assert_allclose(matrix.returns[2], [0.5, 0.3])
    assert continual.forgetting(matrix) == pytest.approx({"boxing": 0.5 - 0.3})
    # Games that no seed has left are no rows.
    alone = make_arm("continual_rainbow", {2: scores[2]}, {2: 130})
    assert continual.transfer(alone).tasks == ["1 boxing", "2 breakout"]

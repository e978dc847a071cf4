"""Outcomes of streams of tasks, by hand."""

import types

import numpy as np
import pytest
from scipy import stats

from analysis import task_streams
from analysis.figures import stream_figure
from core import checks


def _row(early, last, num_tasks=18):
    """Scores of a seed: `early` in tasks 5 to 10, `last` in the last third, 0 in task 1."""
    row = np.full(num_tasks, 0.5)
    row[0], row[4:10], row[-(num_tasks // 3) :] = 0, early, last
    return row


def test_the_outcome_of_an_arm():
    arm = {1: _row(0.8, 0.6), 2: _row(0.6, 0.5), 3: _row(0.7, 0.4)}
    found = task_streams.outcome(arm)
    assert found.early.mean == pytest.approx(0.7)
    assert found.last.mean == pytest.approx(0.5)
    assert found.change.mean == pytest.approx(-0.2)
    half = stats.t.ppf(0.975, 2) * np.std([-0.2, -0.1, -0.3], ddof=1) / 3**0.5
    assert found.change.low == pytest.approx(-0.2 - half)
    assert (found.change.high, found.change.seeds) == (pytest.approx(-0.2 + half), 3)
    one = task_streams.outcome({1: _row(0.8, 0.6)})
    assert one.change.mean == pytest.approx(-0.2)
    assert np.isnan(one.change.low)


def test_differences_are_paired_by_seed():
    arms = {
        "plain": {k: _row(0.8, 0.4 + 0.1 * k) for k in range(7)},
        "nap": {k: _row(0.8, 0.5 + 0.1 * k) for k in range(1, 8)},
        "noise": {k: _row(0.8, 0.4 + 0.1 * k + (-1) ** k) for k in range(7)},
    }
    found = task_streams.differences(arms, "plain")
    assert found.keys() == {"nap", "noise"}
    nap, noise = found["nap"], found["noise"]
    assert nap.estimate == pytest.approx((0.1, 0.1, 0.1, 6))
    assert nap.bootstrap == pytest.approx((0.1, 0.1))
    assert (nap.wins, noise.wins) == (6, 4)
    # Welch's over seeds 1 to 6: both have the variance of 0.1 k, and so 10 degrees of freedom.
    half = stats.t.ppf(0.975, 10) * np.sqrt(2 * np.var(0.1 * np.arange(6), ddof=1) / 6)
    assert nap.unpaired == pytest.approx((0.1 - half, 0.1 + half))
    assert nap.p_value == pytest.approx(2 * 0.5**6)
    assert nap.adjusted == pytest.approx(2 * nap.p_value)
    assert noise.p_value == noise.adjusted == 1
    assert noise.estimate.low < 0 < noise.estimate.high


def test_holm_s_correction_by_hand():
    found = task_streams._holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert found == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def _run(name="plain", seed=1, frames=1_600, each="", **columns):
    """A run of 8 whole tasks of 200 frames, with two rows a task."""
    rows = frames // 100
    table = {
        "frames": 100.0 * np.arange(1, rows + 1),
        "task": np.repeat(np.arange(rows), 2)[:rows],
        "seed": np.full(rows, seed),
        "greedy_reward": np.arange(rows) / 10,
        **columns,
    }
    return types.SimpleNamespace(
        path=f"runs/{name}",
        name=name,
        seeds=(seed,),
        is_sequence=True,
        is_finished=frames % 200 == 0,
        frames=frames,
        frames_per_task=200,
        left=None,
        config={"seed": seed, "environment": {"frames_per_task": 200, "each": each}},
        tables={"train": table},
    )


def test_the_score_of_a_task_is_its_rows_mean():
    found = task_streams.scores([_run(), _run(seed=2), _run("nap")], "greedy_reward")
    assert {name: sorted(arm) for name, arm in found.items()} == {"plain": [1, 2], "nap": [1]}
    assert {len(row) for arm in found.values() for row in arm.values()} == {8}
    np.testing.assert_allclose(found["plain"][1][:3], [0.05, 0.25, 0.45])


def test_a_branch_has_the_scores_of_its_run_before_it_left(monkeypatch):
    trunk, branch = _run(), _run("branch")
    late = {name: column[7:] for name, column in branch.tables["train"].items()}
    late["greedy_reward"] = np.full(9, 5.0)
    branch.tables["train"] = late
    branch.left = {"run_dir": "runs/plain", "frames": 700, "changes": {}}
    monkeypatch.setattr(task_streams.run_records, "load", lambda path: trunk)
    found = task_streams.scores([branch], "greedy_reward")["branch"][1]
    # The fourth task is half the run's own.
    np.testing.assert_allclose(found, [0.05, 0.25, 0.45, (0.6 + 5) / 2, 5, 5, 5, 5])


def _branches(monkeypatch, left, rates):
    """Two runs of an arm that left others, at two frames, whose learning rates were these."""
    trunks, found = {}, []
    for seed, (frames, rate) in enumerate(zip(left, rates)):
        trunk, branch = _run(f"plain_{seed}", seed), _run("branch", seed)
        trunk.config["optimizer"] = {"learning_rate": rate}
        trunks[trunk.path] = trunk
        branch.left = {"run_dir": trunk.path, "frames": frames, "changes": {}}
        found.append(branch)
    monkeypatch.setattr(task_streams.run_records, "load", lambda path: trunks[str(path)])
    return found


def test_what_branches_left_is_alike_too(monkeypatch):
    alike = _branches(monkeypatch, (800, 800), (0.1, 0.1))
    assert task_streams.scores(alike, "greedy_reward")["branch"].keys() == {0, 1}
    assert [run.name for run in task_streams.with_trunks(alike[1])] == ["branch", "plain_1"]
    others = _branches(monkeypatch, (800, 800), (0.1, 0.2))
    message = r"runs/plain_1: optimizer.learning_rate = 0.2 instead of 0.1: .* of runs/plain_0"
    with pytest.raises(checks.ConfigError, match=message):
        task_streams.scores(others, "greedy_reward")
    later = _branches(monkeypatch, (800, 1_000), (0.1, 0.1))
    with pytest.raises(checks.ConfigError, match=r"branched off at frames \[1000\], and .*\[800\]"):
        task_streams.scores(later, "greedy_reward")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([_run(), _run()], "seed 1 of plain occurs twice"),
        ([_run(seed=3)], "found 8 whole tasks: expected at least 15"),
        ([_run(frames=1_700)], "runs/plain: not finished"),
        (
            [_run(), _run(seed=2, each="other")],
            "environment.each = 'other' instead of '': expected the configuration of runs/plain",
        ),
        (
            [_run(), _run("nap", each="other")],
            "runs/nap: environment.each = 'other' instead of '': expected the tasks of runs/plain",
        ),
        (
            [_run(), _run("nap", frames=2_000)],
            "runs/nap: 10 tasks instead of 8: expected the tasks of runs/plain",
        ),
        (
            [_run(greedy_reward=np.array(["pong"] * 16))],
            "runs/plain: expected a sequence of tasks with numbers greedy_reward",
        ),
        ([_run(greedy_reward=np.full(16, np.nan))], "greedy_reward of task 0 was never a number"),
    ],
)
def test_what_can_t_be_compared_is_refused(runs, message):
    with pytest.raises(checks.ConfigError, match=message):
        task_streams.outcome(task_streams.scores(runs, "greedy_reward")["plain"])
    with pytest.raises(checks.ConfigError, match=r"with numbers mean_score in train\.csv"):
        task_streams.scores(runs[:1], "mean_score")


def test_arms_without_a_common_seed_are_refused():
    arms = {"plain": {1: _row(1, 1)}, "nap": {2: _row(1, 1)}}
    with pytest.raises(checks.ConfigError, match="nap: has no seed in common"):
        task_streams.differences(arms, "plain")
    with pytest.raises(checks.ConfigError, match="base = 'ln': expected one of plain, nap"):
        task_streams.differences(arms, "ln")


def _draw(arms, positions, is_log=False):
    panel = stream_figure.Panel(arms, "score", is_log=is_log)
    return stream_figure.draw([panel], positions, "task")


def test_a_line_for_each_arm():
    arms = {"plain": {k: _row(0.8, 0.1 * k) for k in range(3)}, "nap": {1: _row(1, 1)}}
    (axes,) = _draw(arms, range(1, 19)).axes
    assert [line.get_label() for line in axes.lines] == ["plain (3 seeds)", "nap (1 seed)"]
    np.testing.assert_allclose(axes.lines[0].get_ydata()[-1], 0.1)


def test_on_a_logarithmic_axis_intervals_are_positive():
    arms = {"plain": {1: np.array([1e-16, 1.0]), 2: np.array([1e-12, 1.0])}}
    (axes,) = _draw(arms, range(2), is_log=True).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1e-14, 1])
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1] > 0).all()


def test_of_one_position_there_is_a_point_for_each_arm():
    arms = {name: {1: np.array([k]), 2: np.array([k + 2.0])} for k, name in enumerate("ab")}
    (axes,) = _draw(arms, [1]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a (2 seeds)", "b (2 seeds)"]
    assert [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"] == [1, 2]


def test_a_seed_that_failed_does_not_take_its_arm_from_the_figure():
    failed = np.full(18, np.nan)
    arms = {"plain": {1: _row(0.8, 0.2), 2: failed, 3: _row(0.8, 0.4)}, "nap": {1: failed}}
    (axes,) = _draw(arms, range(1, 19)).axes
    assert [x.get_label() for x in axes.lines] == ["plain (2 of 3 seeds)", "nap (0 of 1 seed)"]
    np.testing.assert_allclose(axes.lines[0].get_ydata()[-1], 0.3)
    (axes,) = _draw({"a": {1: failed[:1], 2: _row(1, 1)[:1]}}, [1]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a (1 of 2 seeds)"]


def test_more_than_ten_arms_have_colours_of_their_own():
    arms = {str(k): {1: _row(1, k)} for k in range(14)}
    (axes,) = _draw(arms, range(1, 19)).axes
    assert len({line.get_color() for line in axes.lines}) == 14


def test_an_arm_has_one_colour_and_one_entry_in_all_panels():
    arms = {name: {1: _row(1, k)} for k, name in enumerate("abc")}
    panels = [
        stream_figure.Panel({name: arms[name] for name in names}, label, title)
        for names, label, title in (("ab", "x", "first"), ("cb", "x", "second"), ("a", "y", ""))
    ]
    figure = stream_figure.draw(panels, range(1, 19), "task")
    of_name = {}
    for axes in figure.axes:
        for line in axes.lines:
            of_name.setdefault(line.get_label(), set()).add(line.get_color())
    assert len(of_name) == 3
    assert len({colour for colours in of_name.values() for colour in colours}) == 3
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3
    first, second, third = figure.axes
    assert [axes.get_title() for axes in (first, second)] == ["first", "second"]
    # Panels of one quantity can be compared by eye.
    assert first.get_ylim() == second.get_ylim() != third.get_ylim()
    low, high = first.get_ylim()
    assert low <= 0
    assert high >= 2


def test_the_legend_tells_the_fewest_seeds_of_any_panel():
    failed = np.full(18, np.nan)
    whole, short = {1: _row(1, 1), 2: _row(1, 1)}, {1: _row(1, 1), 2: failed}
    panels = [
        stream_figure.Panel({"a": arm}, "x", title) for title, arm in (("1", whole), ("2", short))
    ]
    (legend,) = stream_figure.draw(panels, range(1, 19), "task").legends
    assert [text.get_text() for text in legend.get_texts()] == ["a (1 of 2 seeds)"]

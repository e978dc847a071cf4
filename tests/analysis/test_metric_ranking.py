"""Rank correlations of metrics with the probe, on runs whose numbers are chosen."""

import numpy as np
import pytest

from analysis import metric_ranking, run_records
from analysis.figures import ranking_figure
from core import checks
from tests.analysis import conftest

_KIND = {
    "seed_index": 0,
    "inputs": 8,
    "num_updates": 10,
    "batch_size": 4,
    "learning_rate": 0.1,
}


@pytest.fixture
def make_probed(make_run):
    """(seed, dead units and the probe's ratio at frames 10, 20, ...) -> the run."""

    def make(seed, dead, ratios):
        path = make_run("rainbow", "boxing", seed, [(100, 0, None, 1.0)])
        frames = [10 * (i + 1) for i in range(len(dead))]
        units = [
            {"frames": f, "updates": f, "seed": seed, "layer": "conv_0", "dead": x, "constant": 1}
            for f, x in zip(frames, dead)
        ]
        conftest.write_csv(path / "units.csv", units)
        probe = [
            {"frames": f, "task": task, "draw": draw, "mean_loss_ratio": ratio, **_KIND}
            for f, value in zip(frames, ratios)
            for task, sign in (("regression", 1), ("labels", -1))
            for draw, ratio in enumerate((value**sign * 2, value**sign / 2))
        ]
        conftest.write_csv(path / "probe.csv", probe)
        return run_records.load(path)

    return make


def test_a_metric_that_orders_the_outcomes_has_correlation_1(make_probed):
    runs = [
        make_probed(1, [0.1, 0.5, 0.3, 0.4], [1.1, 1.5, 1.3, 1.4]),
        make_probed(2, [0.2, 0.6, 0.7, 0.15], [1.2, 1.6, 1.7, 1.15]),
    ]
    # The two draws, 2 and 1/2 times the value, have it as their geometric mean.
    assert metric_ranking.outcome(runs[0], "regression")[20] == pytest.approx(1.5)
    ranked = metric_ranking.rank(runs, "regression")
    by_name = {row.metric: row for row in ranked}
    (axes,) = ranking_figure.draw(ranked).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.metric for row in ranked]
    dead = by_name["units.dead"]
    assert (dead.pooled, dead.low, dead.high, dead.within) == pytest.approx((1, 1, 1, 1))
    assert (dead.runs, dead.checkpoints) == (2, 8)
    assert "units.constant" not in by_name
    # Of ranks (1, 2, 3, 4) with (1, 4, 2, 3) and (2, 3, 4, 1): 0.4 and -0.2.
    assert by_name["frames"].within == pytest.approx((0.4 - 0.2) / 2)
    opposite = {row.metric: row for row in metric_ranking.rank(runs, "labels")}["units.dead"]
    assert opposite.pooled == pytest.approx(-1)


def test_runs_without_a_probe_are_refused(make_run):
    run = run_records.load(make_run("rainbow", "boxing", 1, []))
    with pytest.raises(checks.ConfigError, match=r"task = 'regression': expected runs with 3"):
        metric_ranking.rank([run], "regression")


def test_a_measurement_counts_from_its_moment_on(make_probed):
    run = make_probed(1, [0.1, 0.2, 0.3], [1.1, 1.2, 1.3])
    found = metric_ranking._pairs("units.dead", run, {5: 9.0, 19: 1.0, 30: 2.0})
    np.testing.assert_allclose(found, [[0.1, 0.3], [1.0, 2.0]])


@pytest.mark.parametrize("column", ["num_updates", "inputs_frames"])
def test_probes_of_another_budget_or_other_inputs_do_not_count(make_probed, column):
    run = make_probed(1, [0.1, 0.2, 0.3], [1.1, 1.2, 1.3])
    before = metric_ranking.outcome(run, "regression")
    table = run_records.read_table(run.path / "probe.csv")
    ours = [dict(zip(table, row)) | {column: 10} for row in zip(*table.values())]
    other = ours[0] | {column: 99, "mean_loss_ratio": 7.0}
    conftest.write_csv(run.path / "probe.csv", [other, *ours])
    assert metric_ranking.outcome(run, "regression") == before


def test_a_newer_probe_of_another_seed_hides_none_of_the_first(make_probed):
    run = make_probed(1, [0.1, 0.2, 0.3], [1.1, 1.2, 1.3])
    before = metric_ranking.outcome(run, "regression")
    lines = (run.path / "probe.csv").read_text().splitlines()
    other = lines[-1].replace(",0,8,10,", ",1,8,10,")
    assert other != lines[-1]
    (run.path / "probe.csv").write_text("\n".join([*lines, other]) + "\n")
    assert metric_ranking.outcome(run, "regression") == before

"""Metrics over training, read from a run's files."""

import numpy as np
import pytest

from analysis import comparison, run_records
from analysis.figures import metric_curves
from analysis.reporting import report, report_figures
from core import checks
from tests.analysis import conftest


@pytest.fixture
def run(make_run):
    """One with units of three layers and numbers of the network."""
    path = make_run("rainbow", "boxing", 1, [(100, 0, None, 1.0)])
    units = [
        {"frames": frames, "updates": frames, "seed": 1, "layer": layer, "dead": dead}
        for frames, factor in ((10, 1), (20, 2))
        for layer, dead in (("conv_0", 0.1), ("value_hidden", 0.3), ("value_output", 0.9))
        for dead in (dead * factor,)
    ]
    conftest.write_csv(path / "units.csv", units)
    network = [{"frames": 10, "updates": 1, "seed": 1, "sharpness": 7.0}]
    conftest.write_csv(path / "network.csv", network)
    return run_records.load(path)


def test_a_metric_is_of_the_hidden_layers(run):
    found = metric_curves.curves(run, "units.dead")
    assert list(found) == ["conv_0", "value_hidden"]
    np.testing.assert_allclose(found["value_hidden"].values, [[0.3, 0.6]])
    np.testing.assert_allclose(found["value_hidden"].frames, [10, 20])
    np.testing.assert_allclose(
        metric_curves.mean_over_layers(run, "units.dead").values, [[0.2, 0.4]]
    )
    assert metric_curves.mean_over_layers(run, "ranks.feature_srank") is None


@pytest.mark.parametrize(
    ("layer", "is_hidden"),
    [
        ("torso/section_0_block_1_in_0", True),
        ("torso/section_0_block_1_norm_0", False),
        ("torso/input_scale", False),
        ("torso/block_0_share", False),
        ("value_hidden/mu", True),
        ("value_output/mu", False),
        ("value_output/sigma", False),
        ("injection_1_new/action_hidden", True),
        ("injection", False),
    ],
)
def test_hidden_layers_by_their_names(layer, is_hidden):
    assert metric_curves.is_hidden(layer) == is_hidden


def test_layers_that_wait_or_rest_leave_the_others_curves_as_they_are():
    rows = [
        (frames, 1, layer, norm, ratio)
        for frames in (10, 20)
        for layer, norm, ratio in (
            ("conv_0", 2.0, 0.01),
            ("injection_1_new/conv_0", 2.0, 0.0),
            ("injection", frames - 10.0, 0.0),
            ("conv_1", 2.0 * frames, 0.04),
        )
    ]
    names = ("frames", "seed", "layer", "norm", "update_ratio")
    table = {name: np.array(column) for name, column in zip(names, zip(*rows))}
    frames, norms, updates = report_figures._hidden_layers(table)
    np.testing.assert_array_equal(frames, [10, 20])
    np.testing.assert_allclose(norms, [1, 2 ** (1 / 3)])
    np.testing.assert_allclose(updates, [0.02, 0.02])


def test_a_metric_of_the_network_has_no_layer(run):
    assert metric_curves.curves(run, "network.sharpness")[""].values.tolist() == [[7.0]]
    figure = metric_curves.draw({"run": run}, ["network.sharpness", "units.dead"])
    lines = [len(axis.get_lines()) for axis in figure.axes]
    assert lines == [1, 2]


def test_an_unknown_metric_is_refused_with_those_there(run):
    with pytest.raises(
        checks.ConfigError, match=r"metrics = 'units.alive': expected one of .*dead"
    ):
        metric_curves.draw({"run": run}, ["units.alive"])


def test_a_report_shows_what_was_measured(run, tmp_path):
    report.write([run], tmp_path / "out", report.Options())
    assert (tmp_path / "out" / "single_trainability.png").exists()


def test_a_run_that_ended_early_does_not_cut_the_others_curves(make_run):
    """A mean of those that have come so far."""
    found = []
    for seed, dead in ((1, (0.1, 0.2, 0.3)), (2, (0.3,))):
        path = make_run("rainbow", "boxing", seed, [])
        moments = [{"frames": 10_000 * (i + 1), "updates": i, "seed": seed} for i in range(3)]
        units = [m | {"layer": "conv_0", "dead": x} for m, x in zip(moments, dead)]
        conftest.write_csv(path / "units.csv", units)
        found.append(run_records.load(path))
    axis = report_figures.trainability(comparison.make_arms(found)).axes[0]
    (line,) = axis.lines
    np.testing.assert_allclose(line.get_xydata(), [[10, 0.2], [20, 0.2], [30, 0.3]])
    assert line.get_label() == "rainbow (1 to 2 seeds)"

"""What is measured of a run's checkpoints: a small real training, then each script on it."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.calling import call, error_of
from training.acting import policy

_TRAIN = (
    "train",
    "--config=configs/lab/plain.py",
    "--config.num_envs=2",
    "--config.num_frames=400",
    "--config.replay.min_size=64",
    "--config.log.units_period_frames=0",
    "--config.log.ranks_period_frames=0",
    "--config.evaluation.period_frames=0",
    "--config.snapshot.parameters_period_frames=100",
)
_LAYERS = ["torso/linear_0", "action_hidden", "action_output"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    result = call(*_TRAIN, f"--run_dir={path}")
    assert result.returncode == 0, result.stderr
    return path


def _call(script, run_dir, *arguments):
    result = call(script, f"--run_dir={run_dir}", *arguments)
    assert result.returncode == 0, result.stderr


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_parameters_are_kept_from_birth_on(run_dir):
    kept = sorted(int(path.name) for path in (run_dir / "parameters").iterdir())
    assert kept == [0, 100, 200, 300, 400]


def test_checkpoints_are_compared_with_the_next_or_with_the_first(run_dir):
    _call("compare_checkpoints", run_dir, "--inputs=32")
    rows = _rows(run_dir / "changes.csv")
    pairs = [(row["from_frames"], row["frames"]) for row in rows]
    assert pairs == [("0", "100"), ("100", "200"), ("200", "300"), ("300", "400")]
    assert float(rows[0]["change_over_first"]) == 1
    assert all(float(row["value_churn"]) > 0 for row in rows)
    assert all(0 <= float(row["action_churn"]) <= 1 for row in rows)
    steps = _of_layer(run_dir, _LAYERS[0])
    _call("compare_checkpoints", run_dir, "--inputs=32", "--pairs=first")
    from_first = _of_layer(run_dir, _LAYERS[0])
    assert {row["from_frames"] for row in _rows(run_dir / "changes.csv")} == {"0"}
    assert from_first[0] == steps[0]
    # No farther than the way there.
    assert all(f <= total for f, total in zip(from_first, np.cumsum(steps) + 1e-6))
    layers = {row["layer"]: int(row["weights"]) for row in _rows(run_dir / "layer_changes.csv")}
    assert layers == dict(zip(_LAYERS, (4 * 128, 128 * 128, 128 * 2)))


def _of_layer(run_dir, name):
    rows = _rows(run_dir / "layer_changes.csv")
    return [float(row["change"]) for row in rows if row["layer"] == name]


def test_visits_are_those_of_a_sequence(run_dir):
    message = error_of(call("compare_checkpoints", f"--run_dir={run_dir}", "--pairs=visits"))
    assert message == "error: pairs = 'visits': expected a run of a sequence of tasks"


def test_units_are_drawn(run_dir):
    _call("unit_histograms", run_dir, "--checkpoints=0,400", "--inputs=32")
    rows = _rows(run_dir / "unit_moments.csv")
    assert len(rows) == 2 * 2 * 128
    assert {row["frames"] for row in rows} == {"0", "400"}
    assert all(float(row["pre_variance"]) >= 0 for row in rows)
    assert (run_dir / "unit_histograms.png").stat().st_size > 10_000


def test_checkpoints_are_probed_once(run_dir):
    small = ("--inputs=32", "--updates=4", "--batch_size=8", "--draws=1")
    _call("probe_plasticity", run_dir, "--checkpoints=0,400", *small)
    first = (run_dir / "probe.csv").read_text()
    rows = _rows(run_dir / "probe.csv")
    assert [(row["frames"], row["task"]) for row in rows] == [
        (frames, task) for frames in ("0", "400") for task in ("regression", "labels")
    ]
    assert all(float(row["mean_loss_ratio"]) > 0 for row in rows)
    assert (run_dir / "probe.png").stat().st_size > 10_000
    _call("probe_plasticity", run_dir, "--checkpoints=0,400", *small)
    assert (run_dir / "probe.csv").read_text() == first


def test_inputs_of_another_snapshot_make_another_probe(run_dir, tmp_path):
    """As after a run went on; here the newest one is of an earlier moment by its name."""
    shutil.copytree(run_dir, tmp_path / "run")
    (newest,) = (tmp_path / "run" / "snapshots").iterdir()
    small = ("--inputs=32", "--updates=4", "--batch_size=8", "--draws=1", "--checkpoints=0")
    _call("probe_plasticity", tmp_path / "run", *small)
    before = _rows(tmp_path / "run" / "probe.csv")
    newest.rename(newest.parent / "300")
    _call("probe_plasticity", tmp_path / "run", *small)
    rows = _rows(tmp_path / "run" / "probe.csv")
    assert rows[: len(before)] == before
    assert [row["inputs_frames"] for row in rows[len(before) :]] == ["300", "300"]


@pytest.mark.parametrize("wanted", ["400,", "100,4x0", "100,150", ""])
def test_checkpoints_that_are_not_there_are_refused(run_dir, wanted):
    message = error_of(call("unit_histograms", f"--run_dir={run_dir}", f"--checkpoints={wanted}"))
    expected = f"error: checkpoints = {wanted!r}: expected newest, all, or some of 0, 100, "
    assert message.startswith(expected)


def test_checkpoints_may_be_given_twice_and_with_underscores(run_dir):
    assert policy.choose_frames(run_dir, "4_00,100,400") == [100, 400]


def test_a_probe_that_learns_nothing_is_refused(run_dir):
    message = error_of(call("probe_plasticity", f"--run_dir={run_dir}", "--learning_rate=0"))
    assert message == "error: learning_rate = 0.0: expected a number > 0"


def test_values_are_compared_with_returns_once(run_dir):
    for _ in range(2):
        _call("overestimation", run_dir, "--checkpoints=400", "--episodes=2")
    path = run_dir / "overestimation.csv"
    (row,) = _rows(path)
    found = {name: float(row[name]) for name in ("value", "discounted_return", "overestimation")}
    assert found["overestimation"] == pytest.approx(found["value"] - found["discounted_return"])
    path.write_text(path.read_text().replace("asked_episodes", "others"))
    message = error_of(call("overestimation", f"--run_dir={run_dir}", "--checkpoints=400"))
    assert message.startswith(f"error: {path}: expected columns frames, ")

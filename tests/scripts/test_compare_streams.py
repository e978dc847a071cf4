"""Streams of two arms, as a user compares them."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.scripts.calling import call, error_of

_SMALL = {
    "num_envs": 2,
    "environment.each.images": 20,
    "environment.num_tasks": 15,
    "environment.frames_per_task": 40,
    "replay.capacity": 40,
    "replay.min_size": 8,
    "replay.batch_size": 4,
    "training.update_period_frames": 4,
    "training.target_update_period_frames": 40,
    "log.period_frames": 40,
    "log.layers_period_frames": 0,
    "log.units_period_frames": 0,
    "snapshot.period_frames": 1_000,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for arm in ("plain", "nap"):
        config = f"--config=configs/classification_stream.py:c51:{arm}"
        flags = [f"--config.{key}={value}" for key, value in _SMALL.items()]
        result = call("train", config, *flags, f"--run_dir={root / arm}")
        assert result.returncode == 0, result.stderr
    return root


def _compare(*arguments):
    return call("compare_streams", "--base=classification_stream", *map(str, arguments))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_files_and_a_picture(runs, tmp_path):
    result = _compare(f"--output={tmp_path / 'out'}", runs)
    assert result.returncode == 0, result.stderr
    assert "classification_c51_nap - classification_stream: " in result.stdout
    outcomes = _rows(tmp_path / "out" / "outcomes.csv")
    arms = ("classification_c51_nap", "classification_stream")
    assert [(row["arm"], row["quantity"]) for row in outcomes] == [
        (arm, quantity) for arm in arms for quantity in ("early", "last", "change")
    ]
    (difference,) = _rows(tmp_path / "out" / "differences.csv")
    last = {row["arm"]: float(row["mean"]) for row in outcomes if row["quantity"] == "last"}
    assert float(difference["mean"]) == pytest.approx(last[arms[0]] - last[arms[1]])
    tasks = _rows(tmp_path / "out" / "tasks.csv")
    assert len(tasks) == 2 * 15
    assert all(0 <= float(row["score"]) <= 1 for row in tasks)
    assert (tmp_path / "out" / "tasks.png").stat().st_size > 10_000


def test_runs_of_several_commits_are_refused(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / "nap" / "provenance.jsonl"
    start = {**json.loads(path.read_text().splitlines()[-1]), "commit": "f" * 40}
    path.write_text(json.dumps(start) + "\n")
    message = error_of(_compare(f"--output={tmp_path / 'out'}", tmp_path / "runs"))
    assert message.startswith("error: runs of several commits, fffffffff (")
    assert not (tmp_path / "out").exists()


def test_what_a_branch_left_is_of_the_same_commit_too(runs, tmp_path):
    """Its first tasks are those of the run that it left."""
    shutil.copytree(runs / "nap", tmp_path / "runs" / "nap")
    trunk = shutil.copytree(runs / "nap", tmp_path / "trunk")
    start = {**json.loads((trunk / "provenance.jsonl").read_text()), "commit": "f" * 40}
    (trunk / "provenance.jsonl").write_text(json.dumps(start) + "\n")
    left = {"run_dir": str(trunk), "frames": 80, "changes": {}}
    (tmp_path / "runs" / "nap" / "branch.json").write_text(json.dumps(left))
    result = _compare(f"--output={tmp_path / 'out'}", runs / "plain", tmp_path / "runs")
    assert f"fffffffff ({trunk})" in error_of(result)

"""make plasticity in a small form: the stream's own arm and one's own, as a user compares them."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.calling import call, error_of

pytestmark = pytest.mark.slow

_CODE = Path(__file__).parents[2]
_BASE = "classification_mse_plain"
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
_MINE = """
from configs import classification_stream


def get_config():
    config = classification_stream.get_config("mse:ln")
    with config.unlocked():
        config.name = "mine"
        config.interventions = ({"module": "shrink_and_perturb", "period_frames": 80},)
    return config
"""
_PLAIN_RUN = "classification_stream/mse:plain/seed_1"
_MY_RUN = "mine/default/seed_1"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    mine = tmp_path_factory.mktemp("mine") / "mine.py"
    mine.write_text(_MINE)
    # It takes the environment of the tests as it is.
    environment = Path(sys.prefix)
    given = {
        "VENV": environment,
        "PLASTICITY_ARMS": "configs/classification_stream.py:mse:plain",
        "PLASTICITY_MORE": mine,
        "PLASTICITY_BASE": _BASE,
        "PLASTICITY_SEEDS": "1,2",
        "PLASTICITY_FLAGS": " ".join(f"--config.{key}={value}" for key, value in _SMALL.items()),
        "PLASTICITY_DIR": root,
    }
    variables = [f"{key}={value}" for key, value in given.items()]
    command = ["make", f"--old-file={environment}/.complete", "plasticity", *variables]
    result = subprocess.run(command, cwd=_CODE, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"mine - {_BASE}: " in result.stdout
    return root


def test_make_ends_with_the_comparison(runs):
    assert (runs / "comparison" / "tasks.png").stat().st_size > 10_000
    (difference,) = _rows(runs / "comparison" / "differences.csv")
    assert (difference["arm"], difference["base"], difference["seeds"]) == ("mine", _BASE, "2")
    assert float(difference["low"]) < float(difference["mean"]) < float(difference["high"])


def _compare(*arguments):
    return call("compare_streams", f"--base={_BASE}", *map(str, arguments))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_files_and_a_picture(runs, tmp_path):
    result = _compare(f"--output={tmp_path / 'out'}", runs)
    assert result.returncode == 0, result.stderr
    outcomes = _rows(tmp_path / "out" / "outcomes.csv")
    arms = (_BASE, "mine")
    assert [(row["arm"], row["quantity"]) for row in outcomes] == [
        (arm, quantity) for arm in arms for quantity in ("early", "last", "change")
    ]
    (difference,) = _rows(tmp_path / "out" / "differences.csv")
    last = {row["arm"]: float(row["mean"]) for row in outcomes if row["quantity"] == "last"}
    assert float(difference["mean"]) == pytest.approx(last["mine"] - last[_BASE])
    tasks = _rows(tmp_path / "out" / "tasks.csv")
    assert len(tasks) == 2 * 2 * 15
    assert all(0 <= float(row["score"]) <= 1 for row in tasks)
    assert (tmp_path / "out" / "tasks.png").stat().st_size > 10_000


def test_runs_of_several_commits_are_refused(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    path = tmp_path / "runs" / _MY_RUN / "provenance.jsonl"
    start = {**json.loads(path.read_text().splitlines()[-1]), "commit": "f" * 40}
    path.write_text(json.dumps(start) + "\n")
    message = error_of(_compare(f"--output={tmp_path / 'out'}", tmp_path / "runs"))
    assert message.startswith("error: runs of several commits, ")
    assert f"fffffffff ({tmp_path / 'runs' / _MY_RUN})" in message
    assert not (tmp_path / "out").exists()


def test_what_a_branch_left_is_of_the_same_commit_too(runs, tmp_path):
    """Its first tasks are those of the run that it left."""
    shutil.copytree(runs / _MY_RUN, tmp_path / "runs" / "mine")
    trunk = shutil.copytree(runs / _MY_RUN, tmp_path / "trunk")
    start = {**json.loads((trunk / "provenance.jsonl").read_text()), "commit": "f" * 40}
    (trunk / "provenance.jsonl").write_text(json.dumps(start) + "\n")
    left = {"run_dir": str(trunk), "frames": 80, "changes": {}}
    (tmp_path / "runs" / "mine" / "branch.json").write_text(json.dumps(left))
    result = _compare(f"--output={tmp_path / 'out'}", runs / _PLAIN_RUN, tmp_path / "runs")
    assert f"fffffffff ({trunk})" in error_of(result)

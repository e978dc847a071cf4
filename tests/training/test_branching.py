"""Branches of a run: the same until they leave it, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs import probe
from core import checks, locks
from scripts import branch as branch_script
from training import branching, loop, run_directory
from training.checkpoints import snapshot

_AT, _END = 600, 1_200


def _config(**changes):
    config = probe.get_config("dqn:3")
    config.num_frames = _END
    config.evaluation.period_frames = 0
    config.log.period_frames = 200
    config.log.tensorboard = False
    config.snapshot.period_frames = 400
    config.snapshot.keep = 1
    config.snapshot.keep_at = (_AT,)
    config.optimizer.projection.scale_offset = "free"
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "trunk"
    assert loop.train(_config(), path)
    return path


def _arrays(run_dir: Path, frames: int = _END) -> dict[str, np.ndarray]:
    return snapshot.read_arrays(run_dir / "snapshots" / f"{frames:012d}", "learner")


def _rows(run_dir: Path) -> list[str]:
    """Rows of train.csv without times."""
    rows = (run_dir / "train.csv").read_text().splitlines()
    names = rows[0].split(",")
    kept = [i for i, name in enumerate(names) if name in ("frames", "loss", "mean_return")]
    return [",".join(row.split(",")[i] for i in kept) for row in rows[1:]]


def _branch(trunk: Path, to: Path, *arguments: str) -> dict[str, np.ndarray]:
    config = branch_script.change(run_directory.read_given(trunk), arguments)
    branching.make(trunk, _AT, config, to)
    assert loop.train(config, to)
    return _arrays(to)


def test_snapshots_asked_for_stay(trunk):
    saved = [int(path.name) for path in snapshot.list_saved(trunk / "snapshots")]
    assert saved == [_END, _AT]


def test_a_branch_without_a_change_is_the_run_it_left(trunk, tmp_path):
    found, expected = _branch(trunk, tmp_path / "b"), _arrays(trunk)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    later = [row for row in _rows(trunk) if int(row.split(",")[0]) > _AT]
    assert _rows(tmp_path / "b") == later


def test_projection_is_switched_on_at_the_norms_of_that_moment(trunk, tmp_path):
    """What fits of the optimizer stays: moments and counts; radii are new."""
    to = tmp_path / "b"
    config = branch_script.change(
        run_directory.read_given(trunk), ["--config.optimizer.projection.enabled=true"]
    )
    branching.make(trunk, _AT, config, to)
    before, after = _arrays(trunk, _AT), _arrays(to, _AT)
    moments = [name for name in before if ".mu[" in name]
    assert moments
    for name in moments:
        same = next(x for x in after if x.endswith(name.partition(".moments")[2]))
        np.testing.assert_array_equal(after[same], before[name])
    radii = {name: float(x[0]) for name, x in after.items() if ".radii[" in name}
    assert radii
    assert loop.train(config, to)
    final = _arrays(to)
    for name, radius in radii.items():
        layer = name.partition("radii['")[2].removesuffix("']")
        leaves = [x for n, x in final.items() if n.startswith(f".train.params['{layer}']")]
        norm = np.sqrt(sum(float(np.sum(np.square(leaf))) for leaf in leaves))
        assert norm == pytest.approx(radius, rel=1e-5)


def test_an_intervention_begins_at_the_branch(trunk, tmp_path):
    listed = "({'module': 'towards_initial', 'strength': 0.1},)"
    _branch(trunk, tmp_path / "b", f"--config.interventions={listed}")
    at_branch = _arrays(tmp_path / "b", _END)
    record = json.loads((tmp_path / "b" / branching.RECORD).read_text())
    assert record["frames"] == _AT
    assert set(record["changes"]) == {"interventions"}
    initial = next(name for name in at_branch if "towards_initial" in name and "'w'" in name)
    layer = initial.rpartition("['w']")[0].rpartition("['")[2].removesuffix("']")
    trunk_w = _arrays(trunk, _AT)[f".train.params['{layer}']['w']"]
    np.testing.assert_array_equal(at_branch[initial], trunk_w)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("seed", 7, "seed = 7: expected the trunk's 1"), ("num_envs", 3, "num_envs = 3: expected")],
)
def test_what_the_snapshot_rests_on_can_not_be_changed(trunk, tmp_path, key, value, message):
    config = _config(**{key: value})
    with pytest.raises(checks.ConfigError, match=message):
        branching.make(trunk, _AT, config, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_radii_of_spheres_that_both_have_are_the_trunks(trunk):
    """The snapshot has them; spheres that a branch begins with may have any."""
    del trunk
    before, after = _config(), _config()
    for config in (before, after):
        config.optimizer.projection.enabled = True
    after.optimizer.projection.radius = "sqrt_fan_out"
    with pytest.raises(checks.ConfigError, match=r"projection\.radius = 'sqrt_fan_out': expected"):
        branching.changes(before, after)
    before.optimizer.projection.enabled = False
    assert len(branching.changes(before, after)) == 2


def test_other_networks_snapshots_and_directories_are_refused(trunk, tmp_path):
    config = _config()
    with pytest.raises(checks.ConfigError, match=r"at = 5: expected a snapshot of .*: 600, 1200"):
        branching.make(trunk, 5, config, tmp_path / "b")
    with pytest.raises(checks.ConfigError, match="expected a directory that is not there yet"):
        branching.make(trunk, _AT, config, tmp_path)
    config.network.head.hidden_size = 3
    with pytest.raises(snapshot.SnapshotError, match="this configuration needs"):
        branching.make(trunk, _AT, config, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_branch_that_was_killed_while_it_was_made_is_made_again(trunk, tmp_path):
    left = tmp_path / "b.tmp"
    left.mkdir()
    (left / "config.json").write_text("{")
    (left / "snapshots").mkdir()
    (left / branching.RECORD).write_text("{}")
    branching.make(trunk, _AT, _config(), tmp_path / "b")
    assert not left.exists()
    assert (tmp_path / "b" / branching.RECORD).exists()


def test_other_files_where_a_branch_is_made_are_left(trunk, tmp_path):
    left = tmp_path / "b.tmp"
    left.mkdir()
    (left / "letter.txt").write_text("dear")
    with pytest.raises(checks.ConfigError, match=r"to = .*/b': expected no other files in .*tmp"):
        branching.make(trunk, _AT, _config(), tmp_path / "b")
    assert [entry.name for entry in left.iterdir()] == ["letter.txt"]


def test_a_branch_is_made_by_one_process(trunk, tmp_path, monkeypatch):
    monkeypatch.setattr(locks.await_free, "__defaults__", (0.1,))
    with (
        run_directory.locked(tmp_path / "b.tmp"),
        pytest.raises(checks.ConfigError, match="another process is at work there"),
    ):
        branching.make(trunk, _AT, _config(), tmp_path / "b")
    branching.make(trunk, _AT, _config(), tmp_path / "b")


def test_an_unknown_key_is_one_line(trunk, capsys):
    with pytest.raises(SystemExit):
        branch_script.change(run_directory.read_given(trunk), ["--config.nosuch=1"])
    assert "nosuch" in capsys.readouterr().err

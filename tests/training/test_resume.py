"""A run that was stopped or killed continues as if nothing had happened."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from envs import probes
from replay import base as replay_base
from training import loop
from training.checkpoints import snapshot
from training.learning import dataset
from training.system import stopping

pytestmark = pytest.mark.usefixtures("shared_learners")

_TIMINGS = ("_ms", "_seconds", "_per_second", "_mb")

# A real game with the smallest network, short enough for a test, long enough to wrap the replay.
_SMALL_ATARI = {
    "num_envs": 2,
    "num_frames": 3_200,
    "replay.capacity": 400,
    "replay.min_size": 100,
    "network.head.hidden_size": 16,
    "transition.n_step": 3,
    "training.update_period_frames": 32,
    "training.target_update_period_frames": 320,
    "environment.protocol": "machado",
    "environment.max_episode_frames": 400,
    "environment.reseed_steps": 60,
    "log.period_frames": 400,
    "log.layers_period_frames": 800,
    "log.tensorboard": False,
    "evaluation.period_frames": 0,
    "snapshot.period_frames": 800,
}


def _atari_config(**overrides):
    config = importlib.import_module("configs.data_efficient_nap").get_config("breakout")
    config.update_from_flattened_dict(_SMALL_ATARI | overrides)
    return config


def _probe_config(probe="5", **overrides):
    config = importlib.import_module("configs.probe").get_config(probe)
    config.update_from_flattened_dict({"snapshot.period_frames": 500} | overrides)
    return config


def _arrays(run: loop.Run) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(run.loop.state._replace(rng=None))
    return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}


def _finish(run: loop.Run) -> dict[str, np.ndarray]:
    while not run.loop.counts.is_finished:
        run.iterate()
        _log_if_due(run)
    arrays = _arrays(run)
    run.close()
    return arrays


def _log_if_due(run: loop.Run) -> None:
    if run.loop.is_due(run.settings.log.layers_period_frames):
        run.measure_layers()
    if run.loop.is_due(run.settings.log.period_frames):
        run.log()


def _rows(path: Path) -> list[dict[str, str]]:
    """A CSV file without the columns that measure time or memory."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if not k.endswith(_TIMINGS)} for row in rows]


def _assert_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


# One optimizer and priorities, or three and none: other agents have no other kind of state.
_PROBES = ("rainbow:5", "iql:5")


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    """Parameters, optimizer, replay, logs: all bit by bit, after two interruptions."""
    config = _atari_config()
    uninterrupted = _finish(loop.Run(config, tmp_path / "whole"))
    stops = [config.num_frames // 4, config.num_frames // 2]
    for stop in stops:
        run = loop.Run(config, tmp_path / "resumed")
        while run.counters["frames"] < stop:
            run.iterate()
            _log_if_due(run)
        run.save()
        # What is played after the snapshot is lost when the process dies; so it must be here.
        for _ in range(7):
            run.iterate()
        run.close()
    resumed = loop.Run(config, tmp_path / "resumed")
    assert resumed.counters["frames"] == stops[-1]
    _assert_equal(uninterrupted, _finish(resumed))
    for name in ("train.csv", "episodes.csv", "layers.csv", "norms_seed_1.csv"):
        whole = _rows(tmp_path / "whole" / name)
        found = _rows(tmp_path / "resumed" / name)
        assert found[-1] == whole[-1]
        if name != "norms_seed_1.csv":  # keeps repeated rows; its reader takes the last
            assert found == whole


@pytest.mark.parametrize("probe", _PROBES)
def test_two_seeds_resume_together(tmp_path, probe):
    config = _probe_config(probe, num_seeds=2, num_frames=2_000)
    uninterrupted = _finish(loop.Run(config, tmp_path / "whole"))
    run = loop.Run(config, tmp_path / "resumed")
    while run.counters["frames"] < 1_000:
        run.iterate()
    run.save()
    run.close()
    _assert_equal(uninterrupted, _finish(loop.Run(config, tmp_path / "resumed")))


def test_a_run_of_no_whole_number_of_steps_ends_at_its_frames_and_may_be_made_longer(tmp_path):
    """A step of 16 environments plays 8 frames more; they count when the run goes on.

    Two of that step's four updates are due then, before anything else is seen.
    """
    changes = {
        "num_envs": 16,
        "training.update_period_frames": 4,
        "replay.importance_exponent_end_steps": 1_400,
    }
    whole = _finish(loop.Run(_probe_config(num_frames=1_400, **changes), tmp_path / "whole"))
    path = tmp_path / "longer"
    assert loop.train(_probe_config(num_frames=1_000, **changes), path)
    assert _rows(path / "train.csv")[-1]["frames"] == "1000"
    run = loop.Run(_probe_config(num_frames=1_400, **changes), path)
    assert (run.counters["frames"], run.counters["played_frames"]) == (1_000, 1_008)
    _assert_equal(whole, _finish(run))
    assert run.counters["frames"] == 1_400


def _steps() -> Any:
    """400 of the fifth probe, at random."""
    random = np.random.RandomState(0)
    is_last = np.arange(400) % 2 == 1
    return replay_base.Step(
        observation=random.choice([-1, 1], (400, 1)).astype(np.float32),
        is_first=~is_last,
        is_last=is_last,
        reward=random.normal(size=400).astype(np.float32) * is_last,
        discount=np.where(is_last, 0, 1).astype(np.float32),
        action=random.randint(2, size=400).astype(np.int32),
    )


def test_an_offline_phase_is_resumed_too(tmp_path):
    path = tmp_path / "steps.npz"
    dataset.save(path, _steps())
    changes = {"training.dataset": str(path), "training.offline_updates": 600}
    config = _probe_config("iql:5", num_frames=200, **changes)
    uninterrupted = _finish(loop.Run(config, tmp_path / "whole"))
    run = loop.Run(config, tmp_path / "resumed")
    run.iterate()
    assert run.counters["updates"] == 500
    run.save()
    run.iterate()
    run.close()
    resumed = loop.Run(config, tmp_path / "resumed")
    assert resumed.counters["updates"] == 500
    _assert_equal(uninterrupted, _finish(resumed))


def test_an_offline_phase_has_snapshots_and_each_of_its_rows_once(tmp_path, monkeypatch):
    """Killed in the third part of it, after rows of two and a snapshot of one."""
    dataset.save(tmp_path / "steps.npz", _steps())
    changes = {
        "training.dataset": str(tmp_path / "steps.npz"),
        "training.offline_updates": 2_000,
        "snapshot.period_frames": 4 * 1_000,
        "log.json_lines": True,
    }
    config = _probe_config("iql:5", num_frames=200, **changes)
    iterate = loop.Run.iterate

    def fail(run):
        if run.counters["updates"] == 1_500:
            raise KeyboardInterrupt
        iterate(run)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "iterate", fail)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / "run")
    assert [row["updates"] for row in _rows(tmp_path / "run" / "train.csv")] == [
        "500",
        "1000",
        "1500",
    ]
    run = loop.Run(config, tmp_path / "run")
    assert run.counters["updates"] == 1_000
    run.close()
    assert loop.train(config, tmp_path / "run")
    rows = _rows(tmp_path / "run" / "train.csv")
    offline = [row["updates"] for row in rows if row["frames"] == "0"]
    assert offline == ["500", "1000", "1500", "2000"]
    lines = (tmp_path / "run" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["updates"] for line in lines][:4] == [500, 1_000, 1_500, 2_000]


def test_parameters_are_kept_though_the_evaluation_of_that_frame_is_stopped(tmp_path, monkeypatch):
    changes = {
        "snapshot.parameters_period_frames": 200,
        "evaluation.period_frames": 200,
        "evaluation.episodes": 1,
    }
    config = _probe_config("5", num_frames=400, **changes)

    def stop(run, _):
        raise stopping.Stopped

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "evaluate", stop)
        assert not loop.train(config, tmp_path / "run")
    assert loop.train(config, tmp_path / "run")
    saved = snapshot.list_saved(tmp_path / "run" / "parameters")
    assert [int(path.name) for path in saved] == [400, 200, 0]
    evaluated = _rows(tmp_path / "run" / "evaluation.csv")
    assert [row["frames"] for row in evaluated] == ["200", "400"]


@pytest.mark.parametrize("error", [RuntimeError("other emulators"), ValueError("settings")])
def test_environments_that_can_not_be_restored_end_in_one_line(tmp_path, monkeypatch, error):
    config = _probe_config("5", num_frames=400)
    run = loop.Run(config, tmp_path / "run")
    run.iterate()
    run.save()
    run.close()

    def refuse(*_):
        raise error

    monkeypatch.setattr(probes.ProbeEnvironment, "set_state", refuse)
    with pytest.raises(snapshot.SnapshotError, match=rf"/\d+: the environments: {error}"):
        loop.Run(config, tmp_path / "run")


def test_environment_without_exact_resume_goes_on_with_new_episodes(tmp_path):
    config = importlib.import_module("configs.cartpole").get_config()
    config.num_frames = 1_600
    config.log.tensorboard = False
    run = loop.Run(config, tmp_path / "run")
    while run.counters["frames"] < 800:
        run.iterate()
    run.save()
    run.close()
    run = loop.Run(config, tmp_path / "run")
    assert run.loop.timestep.first().all()
    ring = run.loop.state.replay.ring
    newest = (int(ring.rows) - 1) % ring.is_last.shape[1]
    assert np.asarray(ring.is_last)[0, newest].all()
    _finish(run)


_COMMAND = (
    "--config=configs/data_efficient_nap.py:breakout",
    *(f"--config.{key}={value}" for key, value in _SMALL_ATARI.items()),
)


def _start(path: Path, *flags: str) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "scripts.train", f"--run_dir={path}", *_COMMAND, *flags]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def _wait_for_snapshots(path: Path, number: int) -> None:
    deadline = time.monotonic() + 900
    while len(list((path / "snapshots").glob("[0-9]*"))) < number:
        assert time.monotonic() < deadline, "no snapshot"
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_run_continues_and_ends_like_an_uninterrupted_one(tmp_path):
    """Kill -9 as soon as the second snapshot is seen, then the same command again."""
    _finish(loop.Run(_atari_config(), tmp_path / "whole"))
    process = _start(tmp_path / "killed")
    _wait_for_snapshots(tmp_path / "killed", 2)
    process.kill()
    process.communicate()
    again = _start(tmp_path / "killed")
    _, errors = again.communicate(timeout=900)
    assert again.returncode == 0, errors
    assert "continuing from" in errors
    whole, killed = (_rows(tmp_path / name / "train.csv") for name in ("whole", "killed"))
    assert killed == whole


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_its_own_code(tmp_path):
    process = _start(tmp_path / "run", "--config.num_frames=10_000_000")
    _wait_for_snapshots(tmp_path / "run", 1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 3, errors
    assert "the same command continues" in errors
    assert not list((tmp_path / "run" / "snapshots").glob("*.tmp"))

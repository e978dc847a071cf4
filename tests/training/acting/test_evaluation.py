"""Evaluations of episodes that never end, and of such that are told to stop."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from agents import base as agents_base
from core import locks
from envs import gymnasium_vector, probes
from tests import waiting
from training.acting import evaluation
from training.system import stopping

_ROOT = Path(__file__).parents[3]


def _evaluator(max_episode_frames: int) -> evaluation.Evaluator:
    """Of an agent that always takes the first action."""

    def act(params, rng, observation, steps, mode):
        del params, rng, steps, mode
        return jnp.zeros(len(observation), jnp.int32)

    functions = dict.fromkeys(agents_base.Agent._fields, act)
    return evaluation.Evaluator(agents_base.Agent(**functions), 0, max_episode_frames)


def _endless_config():
    return gymnasium_vector.Settings(id="tests.training.acting.endless:Endless-v0")


def test_endless_episodes_are_cut_and_this_is_said(caplog):
    episodes = _evaluator(40).play((), _endless_config(), num_envs=2, num_episodes=5, seed=1)
    assert [episode.env_id for episode in episodes] == [0, 0, 0, 1, 1]
    assert {(episode.episode_return, episode.length_frames) for episode in episodes} == {(40, 40)}
    (message,) = [r.getMessage() for r in caplog.records if "cut" in r.getMessage()]
    assert "Endless-v0: 5 of 5 episodes were cut" in message
    assert "evaluation.max_episode_frames = 40" in message


def test_episodes_that_end_are_as_without_a_bound():
    """CartPole's first action alone ends it within 12 steps; a bound of 9 cuts the longer."""
    config = gymnasium_vector.Settings()
    whole, cut = (_evaluator(n).play((), config, 3, 9, seed=2) for n in (1000, 9))
    assert max(episode.length_frames for episode in whole) > 9
    assert max(episode.length_frames for episode in cut) == 9
    assert len(cut) == len(whole) == 9
    # As far as the first cut, the same episodes.
    first = {episode.env_id: episode for episode in reversed(whole)}
    first_cut = {episode.env_id: episode for episode in reversed(cut)}
    for env_id, episode in first.items():
        assert first_cut[env_id].length_frames == min(9, episode.length_frames)


def test_an_episode_that_ends_on_the_bound_is_not_cut(caplog):
    config = probes.Settings(probe=3)  # two steps
    episodes = _evaluator(2).play((), config, num_envs=2, num_episodes=4, seed=1)
    assert [episode.length_frames for episode in episodes] == [2] * 4
    assert not any("cut" in record.getMessage() for record in caplog.records)


def test_it_stops_when_told_to():
    asked = iter([False] * 10 + [True])
    with pytest.raises(stopping.Stopped):
        _evaluator(10**9).play((), _endless_config(), 2, 5, 1, stop=lambda: next(asked))


def _check_that_evaluate_hears_a_stop(path: Path) -> None:
    files = set(path.iterdir())
    process = _call("evaluate", f"--run_dir={path}")
    waiting.wait_for(lambda: locks.is_held(path / "run.lock") or process.poll() is not None, 600)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 3, errors
    assert set(path.iterdir()) == files


def _start(path: Path, *overrides: str) -> subprocess.Popen:
    changes = {
        "num_frames": 1_600,
        "evaluation.period_frames": 800,
        "evaluation.episodes": 3,
        "replay.min_size": 200,
        "log.tensorboard": False,
        "log.period_frames": 800,
        "log.layers_period_frames": 0,
    }
    return _call(
        "train",
        "--config=configs/cartpole.py:endless:Endless-v0",
        *(f"--config.{key}={value}" for key, value in changes.items()),
        *overrides,
        f"--run_dir={path}",
    )


def _call(script: str, *arguments: str) -> subprocess.Popen:
    """Starts a script that finds the module `endless`."""
    return subprocess.Popen(
        [sys.executable, "-m", f"scripts.{script}", *arguments],
        cwd=_ROOT,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join([str(_ROOT), str(Path(__file__).parent)]),
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def _frames(path: Path) -> list[int]:
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return [int(row["frames"]) for row in csv.DictReader(stream)]


def test_a_stop_during_an_evaluation_of_endless_episodes(tmp_path):
    """It is heard, a snapshot is written, and the evaluation is made when the run continues."""
    path = tmp_path / "run"
    process = _start(path, "--config.evaluation.max_episode_frames=1_000_000_000")
    waiting.wait_for(lambda: _frames(path / "train.csv") or process.poll() is not None, 600)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 3, errors
    assert [entry.name for entry in (path / "snapshots").iterdir()] == ["000000000800"]
    assert not (path / "evaluation.csv").exists()
    _check_that_evaluate_hears_a_stop(path)
    again = _start(path, "--config.evaluation.max_episode_frames=50")
    _, errors = again.communicate(timeout=900)
    assert again.returncode == 0, errors
    assert "3 of 3 episodes were cut" in errors
    assert _frames(path / "evaluation.csv") == [800, 1600]
    assert _frames(path / "train.csv") == [800, 1600]

"""A continual run: its order of games and updates, and that stopping or killing changes nothing."""

import csv
import importlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from core import checks
from training import derived, loop, run_settings

pytestmark = pytest.mark.usefixtures("shared_learners")

_TIMINGS = ("_ms", "_seconds", "_per_second", "_mb")
_ROOT = Path(__file__).parents[2]
_GAMES = ("breakout", "qbert", "pong")
_FRAMES_PER_GAME = 800

# Three games and the first again, with the smallest network; a kept replay wraps in the third.
_NUM_TASKS = 4
_SMALL = {
    "num_envs": 2,
    "num_frames": _NUM_TASKS * _FRAMES_PER_GAME,
    "environment.games": _GAMES,
    "environment.frames_per_game": _FRAMES_PER_GAME,
    "environment.protocol": "machado",
    "environment.max_episode_frames": 400,
    "environment.reseed_steps": 60,
    "replay.capacity": 400,
    "replay.min_size": 60,
    "network.head.hidden_size": 16,
    "transition.n_step": 3,
    "training.update_period_frames": 32,
    "training.target_update_period_frames": 320,
    "log.period_frames": 400,
    "log.layers_period_frames": 400,
    "log.tensorboard": False,
    "evaluation.period_frames": 0,
    "evaluation.episodes": 2,
    "evaluation.num_envs": 2,
    "snapshot.period_frames": 336,
}


def _config(name, **overrides):
    config = importlib.import_module(f"configs.{name}").get_config("small")
    config.update_from_flattened_dict(_SMALL | overrides)
    return config


def _arrays(run):
    leaves = jax.tree_util.tree_leaves_with_path(run.loop.state._replace(rng=None))
    return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}


def _advance(run, until):
    """Plays to a frame count as training does, without evaluation and snapshots."""
    while run.counters["frames"] < until:
        run.iterate()
        if run.loop.is_due(run.settings.log.layers_period_frames):
            run.measure_layers()
        if run.loop.is_due(run.settings.log.period_frames) or run.loop.is_due(_FRAMES_PER_GAME):
            run.log()


def _rows(path):
    """A CSV file without the columns that measure time or memory."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if not k.endswith(_TIMINGS)} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of the control that resets everything: its directory and its arrays."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    config = _config("continual_reset")
    run = loop.Run(config, path)
    _advance(run, config.num_frames)
    arrays = _arrays(run)
    run.close()
    return path, arrays


def test_games_come_in_order_each_for_its_frames(whole):
    path, _ = whole
    rows = _rows(path / "train.csv")
    games = [(int(row["task"]), row["game"]) for row in rows]
    assert games == [(i, _GAMES[i % 3]) for i in range(_NUM_TASKS) for _ in range(2)]
    assert [int(row["frames"]) for row in rows] == list(range(400, 3_201, 400))


def test_learning_waits_for_the_cleared_replay_in_every_game(whole):
    """60 transitions are 240 of a game's 800 frames; its 25 updates are spread over the others."""
    path, _ = whole
    updates = [int(row["updates"]) for row in _rows(path / "train.csv")]
    assert updates[1::2] == [25 * (i + 1) for i in range(_NUM_TASKS)]
    assert updates[0::2] == [25 * i + 25 * 160 // 560 for i in range(_NUM_TASKS)]
    sizes = [int(row["replay_size"]) for row in _rows(path / "train.csv")]
    assert max(sizes[0::2]) <= 100  # after 400 frames
    assert max(sizes[1::2]) <= 200  # after 800


def test_a_kept_replay_delays_nothing(tmp_path):
    config = _config("continual_nap_schedule", num_frames=2_400)
    run = loop.Run(config, tmp_path / "run")
    _advance(run, config.num_frames)
    assert run.counters["updates"] == 3 * 25
    rates = [float(row["learning_rate"]) for row in _rows(tmp_path / "run" / "train.csv")]
    # Of the last update of each half of a game: the same in every game, and nearly 0 at its end.
    # (In the first the replay had to be filled, so that its half came later.)
    assert rates[2] == pytest.approx(rates[4])
    assert rates[1::2] == pytest.approx([rates[1]] * 3)
    assert rates[2] > 1e-4 > rates[1] > 1e-6
    run.close()


def test_the_agent_itself_is_a_new_one_after_a_reset(tmp_path):
    """What acts in the first step of the second game was not trained in the first."""
    run = loop.Run(_config("continual_reset"), tmp_path / "run")
    _advance(run, _FRAMES_PER_GAME)
    before = _arrays(run)
    run.iterate()
    after = _arrays(run)
    weights = [name for name in before if name.startswith(".train.params") and "conv_0" in name]
    assert weights
    assert all((before[name] != after[name]).any() for name in weights)
    assert run.counters["task"] == 1
    assert int(np.asarray(run.experiment.learner.replay_size(run.loop.state))[0]) == 0
    run.close()


# 8 frames to a step. Before and on the end of a game, on the first step of the next, and between.
@pytest.mark.parametrize("stop", [792, 800, 1_048])
def test_a_run_stopped_around_a_change_of_game_ends_as_the_uninterrupted_one(whole, tmp_path, stop):
    config = _config("continual_reset")
    run = loop.Run(config, tmp_path / "run")
    _advance(run, stop)
    run.save()
    for _ in range(9):  # lost when the process dies
        run.iterate()
    run.close()
    _check_goes_on_as(whole, config, tmp_path / "run", stop)


# Within the second game, at its end, a step before, and within its last step.
@pytest.mark.parametrize("end", [1_200, 1_592, 1_596, 1_600])
def test_a_finished_run_is_made_longer_and_ends_as_one_that_was_that_long(whole, tmp_path, end):
    run = loop.Run(_config("continual_reset", num_frames=end), tmp_path / "run")
    _advance(run, end)
    assert run.loop.counts.is_finished
    run.save()
    run.close()
    _check_goes_on_as(whole, _config("continual_reset"), tmp_path / "run", end)


def _check_goes_on_as(whole, config, path, stop):
    """From frame `stop` on."""
    run = loop.Run(config, path)
    assert run.counters["frames"] == stop
    _advance(run, config.num_frames)
    expected, arrays = whole
    found = _arrays(run)
    run.close()
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    for name in ("train.csv", "episodes.csv", "layers.csv"):
        assert _rows(path / name) == _rows(expected / name)


def test_evaluation_on_the_present_game_or_on_all_so_far(tmp_path):
    for all_games, expected in ((False, ["qbert"]), (True, ["breakout", "qbert"])):
        changes = {"evaluation.all_games": all_games, "num_frames": 5 * _FRAMES_PER_GAME}
        config = _config("continual_rainbow", **changes)
        path = tmp_path / str(all_games)
        run = loop.Run(config, path)
        run.counters["task"] = run.experiment.environment.task = 1
        run.evaluate()
        run.counters["task"] = run.experiment.environment.task = 4  # qbert again
        run.evaluate()
        run.close()
        rows = _rows(path / "evaluation.csv")
        assert [row["game"] for row in rows if row["task"] == "1"] == expected
        games = ["breakout", "qbert", "pong"] if all_games else ["qbert"]
        assert [row["game"] for row in rows if row["task"] == "4"] == games


def test_budget_must_be_a_multiple_of_a_step():
    config = _config("continual_rainbow", **{"environment.frames_per_game": 804})
    with pytest.raises(
        checks.ConfigError, match=r"frames_per_game = 804: expected a multiple of 8"
    ):
        run_settings.parse(derived.resolve(config))


def _start(path):
    flags = [f"--config.{key}={value}" for key, value in _SMALL.items()]
    command = [sys.executable, "-m", "scripts.train", f"--run_dir={path}"]
    command += ["--config=configs/continual_reset.py:small", *flags]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, cwd=_ROOT, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_run_killed_many_times_ends_as_the_uninterrupted_one(whole, tmp_path):
    """Kill -9 at random moments, in switches and snapshots too; then the same command again."""
    delays = random.Random(7)
    path, attempts = tmp_path / "run", 0
    while True:
        process = _start(path)
        attempts += 1
        if attempts > 6:
            _, errors = process.communicate(timeout=900)
            assert process.returncode == 0, errors
            break
        _wait_for_progress(path, process)
        time.sleep(delays.uniform(0.0, 0.8))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors
    whole_path, _ = whole
    for name in ("train.csv", "episodes.csv", "layers.csv"):
        assert _rows(path / name) == _rows(whole_path / name)


def _wait_for_progress(path, process):
    """Until a snapshot is there that wasn't before, or the run is over."""
    before = {p.name for p in (path / "snapshots").glob("[0-9]*")}
    deadline = time.monotonic() + 900
    while process.poll() is None:
        names = {p.name for p in (path / "snapshots").glob("[0-9]*")}
        if any(name.isdigit() for name in names - before):
            return
        assert time.monotonic() < deadline, "no snapshot"
        time.sleep(0.002)

"""The compiled loop does what the loop over single steps does."""

import csv
import importlib

import jax
import numpy as np
import pytest

from core import checks, finite
from replay import base as replay_base
from training import branching, closed_loop, derived, experiment, loop, run_settings
from training.checkpoints import snapshot
from training.learning import dataset

_SMALL = {
    "environment.each.images": 40,
    "environment.num_tasks": 3,
    "environment.frames_per_task": 160,
    "environment.each.episode_steps": 7,
    "num_frames": 400,
    "num_envs": 4,
    "replay.min_size": 16,
    "replay.capacity": 160,
    "replay.batch_size": 8,
    "training.update_period_frames": 4,
    "training.target_update_period_frames": 40,
    "network.head.hidden_size": 8,
    "network.torso.hidden_sizes": (8,),
    "log.period_frames": 60,
    "log.layers_period_frames": 0,
    "log.units_period_frames": 0,
    "snapshot.period_frames": 10_000,
}
_TIMINGS = ("_ms", "_seconds", "_per_second", "_mb")


def _config(argument="c51:plain", **changes):
    config = importlib.import_module("configs.classification_stream").get_config(argument)
    config.update_from_flattened_dict({**_SMALL, "training.steps_per_call": 8, **changes})
    return config


def _play(run, frames=None):
    while not run.loop.counts.is_finished and run.counters["frames"] < (frames or 10**9):
        run.iterate()
        if run.loop.is_due(run.settings.log.period_frames) or run.loop.counts.is_task_over:
            run.log()
    return run


def _arrays(run):
    leaves = jax.tree_util.tree_leaves_with_path(run.loop.state._replace(rng=None))
    return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}


def _rows(path):
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if not k.endswith(_TIMINGS)} for row in rows]


@pytest.mark.parametrize(
    ("argument", "changes"),
    [
        ("c51:plain", {}),
        ("c51:nap", {"training.update_period_frames": 1}),
        ("rainbow:reset", {"num_seeds": 2, "training.update_period_frames": 8}),
    ],
    ids=["an update a step", "several updates a step", "an update each second step, two seeds"],
)
def test_it_equals_the_loop_over_single_steps(tmp_path, argument, changes):
    """The same steps, updates, episodes and rows; numbers up to rounding."""
    closed = _play(loop.Run(_config(argument, **changes), tmp_path / "closed"))
    single = _play(
        loop.Run(_config(argument, **changes, **{"training.steps_per_call": 1}), tmp_path / "open")
    )
    assert isinstance(closed.loop, closed_loop.ClosedLoop)
    assert not isinstance(single.loop, closed_loop.ClosedLoop)
    assert closed.counters == single.counters
    expected = _arrays(single)
    for name, array in _arrays(closed).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
    for run in (closed, single):
        run.close()
    found, rows = (_rows(tmp_path / name / "train.csv") for name in ("closed", "open"))
    assert len(found) == len(rows) > 3
    for ours, theirs in zip(found, rows):
        assert {"greedy_reward"} == ours.keys() - theirs.keys()
        for name in ("frames", "updates", "task", "seed", "episodes", "replay_size"):
            assert ours[name] == theirs[name], name
        for name in ("mean_return", "loss", "gradient_norm", "learning_rate"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3, nan_ok=True)
    assert _rows(tmp_path / "closed" / "episodes.csv") == _rows(tmp_path / "open" / "episodes.csv")


@pytest.mark.parametrize("frames", [60, 160, 200])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, frames):
    """Stopped within a task, at its end, and after it."""
    whole = _play(loop.Run(_config(), tmp_path / "whole"))
    run = _play(loop.Run(_config(), tmp_path / "resumed"), frames)
    run.save()
    run.close()
    resumed = loop.Run(_config(), tmp_path / "resumed")
    assert resumed.counters["frames"] >= frames
    expected = _arrays(whole)
    for name, array in _arrays(_play(resumed)).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    resumed.close()
    whole.close()
    assert _rows(tmp_path / "resumed" / "train.csv") == _rows(tmp_path / "whole" / "train.csv")


def test_the_greedy_reward_is_what_the_policy_would_get(tmp_path):
    """After many updates on few images nearly all of it; a row for each task."""
    changes = {
        "environment.num_tasks": 1,
        "environment.each.images": 10,
        "environment.frames_per_task": 4_000,
        "num_frames": 4_000,
        "replay.capacity": 4_000,
        "log.period_frames": 2_000,
        "replay.batch_size": 32,
        "network.head.hidden_size": 32,
        "network.torso.hidden_sizes": (32,),
        "optimizer.learning_rate": 3e-3,
    }
    run = _play(loop.Run(_config(**changes), tmp_path / "run"))
    run.close()
    first, last = (float(row["greedy_reward"]) for row in _rows(tmp_path / "run" / "train.csv"))
    assert first < last
    assert last > 0.9


def test_a_number_that_is_not_finite_ends_the_run(tmp_path):
    run = loop.Run(_config(**{"optimizer.learning_rate": 1e38}), tmp_path / "run")
    with pytest.raises(Exception, match="expected a finite number"):
        _play(run)
    run.close()


def test_an_observation_that_is_not_finite_is_told_with_frame_update_and_seed(tmp_path):
    """A shift that float32 can't hold, from the second task on, which begins at frame 160."""
    config = importlib.import_module("configs.cartpole_stream").get_config("c51:plain")
    changes = {key: value for key, value in _SMALL.items() if "each" not in key}
    config.update_from_flattened_dict({**changes, "training.steps_per_call": 8})
    config.environment.each.shift = 1e39
    config.num_seeds, config.seed = 2, 5
    run = loop.Run(config, tmp_path / "run")
    with pytest.raises(finite.NotFiniteError) as error:
        _play(run)
    assert str(error.value) == (
        "frame 164, update 40, seed 5: reward or observation of environment 0 of "
        "3_tasks_cartpole_of_160_frames: expected finite numbers"
    )
    run.close()


def test_other_environments_are_refused(tmp_path):
    config = importlib.import_module("configs.probe").get_config("3")
    config.training.steps_per_call = 8
    with pytest.raises(checks.ConfigError, match=r"steps_per_call = 8: expected 1, as .*'probes'"):
        loop.Run(config, tmp_path / "run")


def test_a_branch_goes_on_bit_for_bit(tmp_path):
    """An unchanged one; its rows begin where it left."""
    changes = {"snapshot.keep_at": (160,), "num_frames": 320, "evaluation.period_frames": 160}
    changes |= {"evaluation.episodes": 2, "evaluation.num_envs": 2}
    config = _config(**changes)
    assert loop.train(config, tmp_path / "trunk")
    branching.make(tmp_path / "trunk", 160, config, tmp_path / "branch")
    assert loop.train(config, tmp_path / "branch")
    trunk, branch = (
        snapshot.read_arrays(tmp_path / name / "snapshots" / f"{320:012d}", "learner")
        for name in ("trunk", "branch")
    )
    for name, array in trunk.items():
        np.testing.assert_array_equal(branch[name], array, err_msg=name)
    later = [row for row in _rows(tmp_path / "trunk" / "train.csv") if int(row["frames"]) > 160]
    assert _rows(tmp_path / "branch" / "train.csv") == later
    assert len(_rows(tmp_path / "trunk" / "evaluation.csv")) == 2


def test_offline_updates_come_before_the_loop(tmp_path):
    """Their rows have no greedy reward: nothing is played yet. An evaluation follows them, late if
    the run was stopped before it.
    """
    count = 200
    steps = replay_base.Step(
        observation=np.random.RandomState(0).normal(size=(count, 196)).astype(np.float32),
        is_first=np.arange(count) % 10 == 0,
        is_last=np.arange(count) % 10 == 9,
        reward=np.zeros(count, np.float32),
        discount=np.ones(count, np.float32),
        action=np.zeros(count, np.int32),
    )
    dataset.save(tmp_path / "steps.npz", steps)
    changes = {
        "training.dataset": str(tmp_path / "steps.npz"),
        "training.offline_updates": 20,
        "task_switch.clear_replay": False,
        "num_frames": 160,
        "replay.capacity": 400,
        "evaluation.period_frames": 160,
        "evaluation.episodes": 2,
    }
    config = _config(**changes)
    run = loop.Run(config, tmp_path / "run")
    assert not run.must_evaluate
    while run.loop.is_offline:
        run.iterate()
        run.log()
    assert run.must_evaluate
    run.save()
    run.close()
    assert loop.train(config, tmp_path / "run")
    evaluated = [row["frames"] for row in _rows(tmp_path / "run" / "evaluation.csv")]
    assert evaluated == ["0", "160"]
    rows = _rows(tmp_path / "run" / "train.csv")
    assert (rows[0]["frames"], rows[0]["updates"], rows[0]["greedy_reward"]) == ("0", "20", "nan")
    assert 0 <= float(rows[-1]["greedy_reward"]) <= 1


def test_the_greedy_reward_is_of_the_network_without_noise():
    config = importlib.import_module("configs.classification_stream").get_config("rainbow:ln")
    assert not config.agent.evaluation_noise
    assert config.agent.evaluation_epsilon == 0
    for agent in ("c51", "mse", "qrdqn", "iqn"):
        config = importlib.import_module("configs.classification_stream").get_config(agent)
        assert config.agent.epsilon.evaluation == 0


@pytest.mark.parametrize("agent", ["qrdqn", "iqn"])
def test_agents_of_quantiles_may_be_in_the_stream(agent):
    built = experiment.make(run_settings.parse(derived.resolve(_config(f"{agent}:nap"))))
    assert "loss" in experiment.metric_names(built)
    built.environment.close()

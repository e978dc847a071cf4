"""Recorded steps: what is read of them, and what is refused."""

import importlib
import zipfile

import numpy as np
import pytest
from dm_env import specs

from core import checks
from replay import base as replay_base
from training import agent_loop, derived, experiment, loop, run_settings
from training.learning import dataset

_OBSERVATION = specs.Array((1,), np.float32, name="observation")


def _steps(count):
    """Episodes of two steps."""
    is_last = np.arange(count) % 2 == 1
    return replay_base.Step(
        observation=np.ones((count, 1), np.float32),
        is_first=~is_last,
        is_last=is_last,
        reward=np.zeros(count, np.float32),
        discount=np.where(is_last, 0, 1).astype(np.float32),
        action=np.zeros(count, np.int32),
    )


def _load(path):
    return dataset.load(path, _OBSERVATION, num_actions=2)


def test_what_was_saved_is_read(tmp_path):
    path = tmp_path / "steps.npz"
    for count in (4, 6):  # the second replaces the first
        dataset.save(path, _steps(count))
        for found, saved in zip(_load(path), _steps(count)):
            np.testing.assert_array_equal(found, saved)
    assert [file.name for file in tmp_path.iterdir()] == ["steps.npz"]


def test_what_is_no_data_set_is_refused_in_one_line(tmp_path):
    path = tmp_path / "steps.npz"
    dataset.save(path, _steps(4))
    whole = path.read_bytes()
    np.save(tmp_path / "array.npy", np.ones(3))
    others = (b"", whole[: len(whole) // 2], b"text", (tmp_path / "array.npy").read_bytes())
    for contents in others:
        path.write_bytes(contents)
        with pytest.raises(
            checks.ConfigError, match=r"expected steps of scripts/collect.py"
        ) as found:
            _load(path)
        assert "\n" not in str(found.value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("reward.npy", b"")
    with pytest.raises(checks.ConfigError, match=r"expected steps of scripts/collect.py"):
        _load(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("reward", np.float32("nan"), r"reward \[0\] = nan: expected a finite number"),
        ("observation", np.float32("inf"), r"observation \[0, 0\] = inf"),
        ("discount", np.float32(3), "expected discounts from 0 to 1"),
        ("is_first", 7, "expected booleans for is_first, found int64"),
        ("action", 1.7, "expected integers for action, found float64"),
    ],
)
def test_numbers_that_can_not_be_are_refused_with_their_file(tmp_path, column, value, message):
    steps = _steps(4)
    shape = getattr(steps, column).shape
    dataset.save(tmp_path / "steps.npz", steps._replace(**{column: np.full(shape, value)}))
    with pytest.raises(checks.ConfigError, match=rf"training\.dataset = .*steps\.npz': {message}"):
        _load(tmp_path / "steps.npz")


def test_rewards_are_clipped_as_when_playing(tmp_path):
    path = tmp_path / "steps.npz"
    dataset.save(path, _steps(400)._replace(reward=np.full(400, 7, np.float32)))
    for bound, expected in ((0.0, 7), (1.0, 1)):
        config = _config(path, **{"transition.max_abs_reward": bound})
        settings = run_settings.parse(derived.resolve(config))
        steps = agent_loop.load_dataset(settings, experiment.make(settings))
        assert steps is not None
        np.testing.assert_array_equal(steps.reward, expected)


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    def fail(stream, **columns):
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(KeyboardInterrupt):
        dataset.save(tmp_path / "steps.npz", _steps(4))
    assert not list(tmp_path.iterdir())


def _config(path, **changes):
    config = importlib.import_module("configs.probe").get_config("iql:5")
    config.update_from_flattened_dict({"training.dataset": str(path), **changes})
    return config


def test_more_steps_than_the_replay_holds_are_refused(tmp_path):
    dataset.save(tmp_path / "steps.npz", _steps(400))
    loop.Run(_config(tmp_path / "steps.npz", **{"replay.capacity": 400}), tmp_path / "all").close()
    config = _config(tmp_path / "steps.npz", **{"replay.capacity": 396})
    with pytest.raises(
        checks.ConfigError, match=r"capacity = 396: expected at least the 400 steps"
    ):
        loop.Run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_can_not_be_read_is_refused_before_a_directory_is_made(tmp_path):
    with pytest.raises(checks.ConfigError, match=r"training\.dataset = .*none\.npz"):
        loop.Run(_config(tmp_path / "none.npz"), tmp_path / "run")
    dataset.save(tmp_path / "few.npz", _steps(4))
    with pytest.raises(checks.ConfigError, match=r"training\.dataset: 4 steps: expected at least"):
        loop.Run(_config(tmp_path / "few.npz"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sequence_that_would_drop_them_is_refused():
    config = importlib.import_module("configs.classification_stream").get_config("c51:plain")
    config.training.dataset = "steps.npz"
    config.task_switch.clear_replay = True
    with pytest.raises(checks.ConfigError, match=r"clear_replay = True: expected False with train"):
        run_settings.parse(derived.resolve(config))
    config.task_switch.clear_replay = False
    run_settings.parse(derived.resolve(config))

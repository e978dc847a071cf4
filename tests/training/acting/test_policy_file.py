"""A policy's file gives back what was written, and is refused in one line if it is none."""

import json

import jax
import numpy as np
import pytest

from configs import probe
from core import checks, finite
from envs import base as envs_base
from training import derived, experiment, run_settings
from training.acting import policy, policy_file
from training.checkpoints import snapshot, state_arrays

_CONFIG = derived.resolve(probe.get_config("3"))


def _policy(scale: float = 1.0, config=_CONFIG) -> policy.Policy:
    settings = run_settings.parse(config)
    spec, actions = envs_base.make_specs(settings.environment)
    agent = experiment.make_agent(settings, spec, actions)
    params = agent.init(jax.random.key(1), np.zeros((1, *spec.shape), spec.dtype)).params
    scaled = jax.tree.map(lambda x: scale * (x + 1), params)
    return policy.Policy(settings, agent, scaled, frames=700, task=0, seed=4)


def _write(path, player, dtype="float32"):
    policy_file.write(path, player, _CONFIG, [{"commit": "abc"}], dtype)


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("float16", 1e-3)])
def test_what_was_written_is_read(tmp_path, dtype, error):
    path, player = tmp_path / "policy.npz", _policy()
    _write(path, player, dtype)
    found = policy_file.load(path)
    assert (found.settings, found.environment) == (player.settings, player.environment)
    assert (found.frames, found.task, found.seed) == (700, 0, 4)
    for written, read in zip(*map(jax.tree.leaves, (player.params, found.params)), strict=True):
        assert read.dtype == written.dtype
        np.testing.assert_allclose(read, written, rtol=error, atol=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.npz"]


def test_playing_needs_no_file_of_norms(tmp_path):
    player = _policy()
    config = _CONFIG.copy_and_resolve_references()
    config.optimizer.projection.enabled = True
    config.optimizer.projection.scale_offset = "free"
    config.optimizer.schedule.name = "norm_growth"
    config.optimizer.schedule.norms_file = str(tmp_path / "moved.csv")
    policy_file.write(tmp_path / "policy.npz", player, config, [], "float32")
    found = policy_file.load(tmp_path / "policy.npz")
    assert found.settings.optimizer.schedule.name == "norm_growth"
    jax.tree.map(np.testing.assert_array_equal, found.params, player.params)


def test_of_an_agent_with_several_optimizers(tmp_path):
    config = derived.resolve(probe.get_config("iql:3"))
    player = _policy(config=config)
    policy_file.write(tmp_path / "policy.npz", player, config, [], "float32")
    found = policy_file.load(tmp_path / "policy.npz")
    jax.tree.map(np.testing.assert_array_equal, found.params, player.params)


def test_a_number_too_great_and_a_file_that_is_there_are_refused(tmp_path):
    with pytest.raises(checks.ConfigError, match="dtype = 'float16': expected parameters of at"):
        _write(tmp_path / "policy.npz", _policy(1e6), "float16")
    _write(tmp_path / "policy.npz", _policy())
    for name in ("policy.npz", "policy.zip", "none/policy.npz"):
        with pytest.raises(checks.ConfigError, match=r"expected a new file \.npz in a directory"):
            _write(tmp_path / name, _policy())


def test_parameters_that_are_not_finite_are_told(tmp_path):
    arrays = state_arrays.to_arrays(_policy(np.inf).params)
    about = {"format": 1, "config": _CONFIG.to_dict(), "frames": 1, "task": 0, "seed": 4}
    text = json.dumps({**about, "starts": []})
    np.savez(tmp_path / "policy.npz", about=np.array(text), **arrays)
    with pytest.raises(finite.NotFiniteError, match=r"seed 4: .*policy\.npz: params"):
        policy_file.load(tmp_path / "policy.npz")


def _refusal(path) -> str:
    with pytest.raises((checks.ConfigError, snapshot.SnapshotError)) as error:
        policy_file.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "policy.npz"
    assert "No such file" in _refusal(path)
    path.write_text("text")
    assert "expected a file that scripts.export_policy wrote" in _refusal(path)
    np.savez(path, weights=np.zeros(3))
    assert "'about' is missing" in _refusal(path)
    _write(tmp_path / "whole.npz", _policy())
    path.write_bytes((tmp_path / "whole.npz").read_bytes()[:-500])
    assert "expected a file that scripts.export_policy wrote" in _refusal(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda about: about.pop("config"), "'config' is missing in 'about'"),
        (lambda about: about.update(format=9), "it has format 9, this version reads 1"),
        (lambda about: about["config"]["network"]["head"].update(hidden_size=7), "needs float32["),
        (lambda about: about["config"].update(num_envs=0), "num_envs = 0: expected an integer"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, change, expected):
    _write(tmp_path / "policy.npz", player := _policy())
    about = json.loads(str(np.load(tmp_path / "policy.npz")["about"]))
    change(about)
    arrays = state_arrays.to_arrays(player.params)
    np.savez(tmp_path / "policy.npz", about=np.array(json.dumps(about)), **arrays)
    with pytest.raises((checks.ConfigError, snapshot.SnapshotError)) as error:
        policy_file.load(tmp_path / "policy.npz")
    assert expected in str(error.value)

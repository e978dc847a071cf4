"""The agent learns the values and policies of the probe environments, whose answers are known."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from training import loop

GAMMA = 0.99


def _train(probe: int, path: Path, **overrides) -> loop.Run:
    config = importlib.import_module("configs.probe").get_config(str(probe))
    config.update_from_flattened_dict(overrides)
    run = loop.Run(config, path)
    while not run.loop.is_finished:
        run.iterate()
    run.close()
    return run


def _values(run: loop.Run, observations) -> np.ndarray:
    """Mean q-values over noise, [B, A]."""
    params = jax.tree.map(lambda x: x[0], run.loop.state.train.params)
    rngs = jax.random.split(jax.random.key(0), 100)
    x = np.array(observations, np.float32)[:, None]
    apply = run.experiment.learner.agent.apply
    return np.mean(jax.vmap(lambda rng: apply(params, rng, x).q_values)(rngs), axis=0)


def test_learns_a_constant_value(tmp_path):
    values = _values(_train(1, tmp_path / "run"), [1.0])
    np.testing.assert_allclose(values, [[1.0]], atol=0.1)


def test_value_depends_on_the_observation(tmp_path):
    values = _values(_train(2, tmp_path / "run"), [-1.0, 1.0])
    np.testing.assert_allclose(values, [[-1.0], [1.0]], atol=0.1)


@pytest.mark.parametrize("n_step", [1, 3])
def test_reward_is_discounted_back(tmp_path, n_step):
    # A lower gamma than usual, so that a missing or doubled discount is outside the tolerance.
    overrides = {"transition.n_step": n_step, "transition.discount": 0.6}
    values = _values(_train(3, tmp_path / "run", **overrides), [0.0, 1.0])
    np.testing.assert_allclose(values, [[0.6], [1.0]], atol=0.1)


def test_policy_prefers_the_rewarded_action(tmp_path):
    values = _values(_train(4, tmp_path / "run"), [1.0])
    np.testing.assert_allclose(values, [[-1.0, 1.0]], atol=0.2)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"network.norm.kind": "layer", "optimizer.projection.enabled": True},
        {"num_seeds": 2},
        {
            "network.head.noise": "per_sample",
            "network.head.dueling": False,
            "agent.exploration_epsilon": 0.1,
        },
    ],
    ids=["rainbow", "nap", "two seeds", "noise per sample, no dueling"],
)
def test_policy_depends_on_the_observation(tmp_path, overrides):
    values = _values(_train(5, tmp_path / "run", **overrides), [-1.0, 1.0])
    np.testing.assert_allclose(values, [[1.0, -1.0], [-1.0, 1.0]], atol=0.25)


def test_learns_without_noise_by_epsilon_greedy(tmp_path):
    overrides = {"network.head.noisy": False, "agent.exploration_epsilon": 0.2}
    values = _values(_train(5, tmp_path / "run", **overrides), [-1.0, 1.0])
    np.testing.assert_allclose(values, [[1.0, -1.0], [-1.0, 1.0]], atol=0.25)


@pytest.mark.slow
def test_solves_cartpole(tmp_path):
    config = importlib.import_module("configs.cartpole").get_config()
    assert loop.train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "evaluation.csv").read_text().splitlines()
    header, last = lines[0].split(","), lines[-1].split(",")
    assert float(last[header.index("mean_return")]) >= 475

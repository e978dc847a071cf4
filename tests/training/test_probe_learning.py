"""Agents learn the values and policies of the probe environments, whose answers are known."""

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from envs import base as envs_base
from envs import probes
from replay import base as replay_base
from tests.agents import small_agents
from training import loop
from training.learning import dataset

GAMMA = 0.99

# By the probe: observations, and the values of the actions there.
EXPECTED = {
    3: ([0.0, 1.0], [[GAMMA], [1.0]]),
    5: ([-1.0, 1.0], [[1.0, -1.0], [-1.0, 1.0]]),
}


def _get_config(probe: int | str, **overrides):
    config = importlib.import_module("configs.probe").get_config(str(probe))
    config.update_from_flattened_dict(overrides)
    return config


def _train(probe: int | str, path: Path, **overrides) -> loop.Run:
    run = loop.Run(_get_config(probe, **overrides), path)
    while not run.loop.counts.is_finished:
        run.iterate()
    run.close()
    return run


def _values(run: loop.Run, observations) -> np.ndarray:
    """Mean q-values over noise, [B, A]."""
    params = jax.tree.map(lambda x: x[0], run.loop.state.train.params)
    rngs = jax.random.split(jax.random.key(0), 100)
    x = np.array(observations, np.float32)[:, None]
    apply = run.experiment.learner.agent.apply
    return np.mean(jax.vmap(lambda rng: _q_values(apply(params, rng, x)))(rngs), axis=0)


def _q_values(output: Any) -> jax.Array:
    """Of a distribution, of several networks, or as they are."""
    if isinstance(output, dict):
        return output["q"]
    return getattr(output, "q_values", output)


def _actions(run: loop.Run, observations) -> list[int]:
    """What the agent does in evaluations."""
    agent = run.experiment.learner.agent
    params = jax.tree.map(lambda x: x[0], run.loop.state.train.params)
    x = np.array(observations, np.float32)[:, None]
    return agent.act(params, jax.random.key(0), x, np.int32(0), "evaluation").tolist()


# Harder than the others: it discounts, and it tells states and actions apart.
_DISCOUNTING, _TELLING = 3, 5
_LEARNED = [(agent, _DISCOUNTING) for agent in ("rainbow", "dqn")]
# IQL learns from recorded steps, below; a classifier from labels.
_OTHERS = ("iql", "classifier")
_LEARNED += [(agent, _TELLING) for agent in small_agents.NAMES if agent not in _OTHERS]


@pytest.mark.parametrize(("agent", "probe"), _LEARNED)
def test_agents_learn_the_probes(tmp_path, agent, probe):
    run = _train(f"{agent}:{probe}", tmp_path / "run")
    observations, expected = EXPECTED[probe]
    np.testing.assert_allclose(_values(run, observations), expected, atol=0.25)
    if len(expected[0]) > 1:
        assert _actions(run, observations) == np.argmax(expected, axis=1).tolist()


def test_munchausen_s_values_of_a_probe(tmp_path):
    """The worse action's -1 has all of the bonus, -0.9; the better one's is 0."""
    run = _train("dqn:4", tmp_path / "run", **{"agent.munchausen.enabled": True})
    np.testing.assert_allclose(_values(run, [1.0]), [[-1.9, 1.0]], atol=0.25)
    assert _actions(run, [1.0]) == [1]


@pytest.mark.parametrize("probe", [3, 5])
def test_iql_learns_from_recorded_steps_alone(tmp_path, probe):
    """Of uniform actions; not a step is played before the values are looked at."""
    path = _record(probe, tmp_path / "steps.npz")
    changes = {"training.dataset": str(path), "training.offline_updates": 2_000}
    run = loop.Run(_get_config(f"iql:{probe}", **changes), tmp_path / "run")
    while run.loop.is_offline:
        run.iterate()
    assert run.counters["frames"] == 0
    assert run.counters["updates"] == 2_000
    run.close()
    observations, expected = EXPECTED[probe]
    np.testing.assert_allclose(_values(run, observations), expected, atol=0.25)
    if len(expected[0]) > 1:
        assert _actions(run, observations) == np.argmax(expected, axis=1).tolist()


def _record(probe: int, path: Path) -> Path:
    """A thousand steps of uniform actions on a probe."""
    environment = envs_base.make(probes.Settings(probe=probe), 1, seed=1)
    random, timestep, steps = np.random.RandomState(0), environment.reset(), []
    for _ in range(1_000):
        action = random.randint(environment.action_spec().num_values, size=1).astype(np.int32)
        flags = timestep.first(), timestep.last()
        steps.append((timestep.observation, *flags, timestep.reward, timestep.discount, action))
        timestep = environment.step(action)
    columns: Any = [np.concatenate(column) for column in zip(*steps)]
    dataset.save(path, replay_base.Step(*columns))
    return path


def test_reward_is_discounted_back(tmp_path):
    """Over several steps, which an episode is shorter than."""
    # A lower gamma than usual, so that a missing or doubled discount is outside the tolerance.
    overrides = {"transition.n_step": 3, "transition.discount": 0.6}
    values = _values(_train(3, tmp_path / "run", **overrides), [0.0, 1.0])
    np.testing.assert_allclose(values, [[0.6], [1.0]], atol=0.1)


@pytest.mark.parametrize(
    "overrides",
    [
        {"network.norm.kind": "layer", "optimizer.projection.enabled": True},
        {
            "network.head.noise": "per_sample",
            "network.head.dueling": False,
            "agent.exploration_epsilon": 0.1,
        },
    ],
    ids=["nap", "noise per sample, no dueling"],
)
def test_policy_depends_on_the_observation(tmp_path, overrides):
    values = _values(_train(5, tmp_path / "run", **overrides), [-1.0, 1.0])
    np.testing.assert_allclose(values, [[1.0, -1.0], [-1.0, 1.0]], atol=0.25)

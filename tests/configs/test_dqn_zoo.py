"""Configs of the agents of DQN Zoo have its numbers (dqn_zoo/*/run_atari.py at 45061f4b)."""

import importlib

import pytest

from training import derived

# The same in all of them. 200 iterations of 1M frames; an action is repeated for 4.
COMMON = {
    "num_frames": 200_000_000,
    "environment.protocol": "dqn_zoo",
    "environment.max_episode_frames": 108_000,
    "transition.frame_stack": 4,
    "transition.discount": 0.99,
    "transition.max_abs_reward": 1.0,
    "training.update_period_frames": 16,
    "replay.capacity": 1_000_000,
    "replay.batch_size": 32,
    "network.torso.module": "nature",
    "network.head.hidden_size": 512,
    "network.norm.kind": "none",
    "network.activation.kind": "relu",
    "optimizer.schedule.name": "constant",
    "optimizer.projection.enabled": False,
}
# Of all but Rainbow.
PLAIN = {
    "transition.n_step": 1,
    "network.head.dueling": False,
    "network.head.noisy": False,
    "agent.epsilon.begin": 1.0,
    "agent.epsilon.decay_steps": 1_000_000,
}
COLUMNS = (
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.kwargs.eps",
    "optimizer.max_gradient_norm",
    "agent.epsilon.end",
    "agent.epsilon.evaluation",
    "training.target_update_period_frames",
    "replay.min_size",
    "agent.epsilon.begin_steps",
    "network.head.shared_bias",
    "replay.module",
)
_RMS = 0.01 / 32**2
_ADAM = 0.01 / 32
TABLE = {
    "dqn": ("rmsprop", 2.5e-4, _RMS, 0, 0.1, 0.05, 40_000, 50_000, 50_000, False, "uniform"),
    "double_q": ("rmsprop", 2.5e-4, _RMS, 0, 0.01, 0.01, 120_000, 50_000, 50_000, True, "uniform"),
    "prioritized": (
        *("rmsprop", 6.25e-5, _RMS / 16, 0, 0.01, 0.01, 120_000, 50_000, 50_000, True),
        "prioritized",
    ),
    "c51": ("adam", 2.5e-4, _ADAM, 10, 0.01, 0.001, 40_000, 50_000, 50_000, False, "uniform"),
    "qrdqn": ("adam", 5e-5, _ADAM, 10, 0.01, 0.001, 40_000, 50_000, 50_000, False, "uniform"),
    "iqn": ("adam", 5e-5, _ADAM, 0, 0.01, 0.001, 40_000, 20_000, 20_000, False, "uniform"),
}
_RMSPROP = {"optimizer.kwargs.decay": 0.95, "optimizer.kwargs.centered": True}
_CLIPPED = {"agent.loss": "clipped", "agent.max_td_gradient": 1 / 32}
_BETAS = {"optimizer.kwargs.b1": 0.9, "optimizer.kwargs.b2": 0.999}
_PRIORITIES = {
    "replay.importance_exponent": 0.4,
    "replay.importance_exponent_end": 1.0,
    "replay.importance_exponent_end_steps": 50_000_000,
    "replay.uniform_mix": 1e-3,
}
_ATOMS = {"agent.num_atoms": 51, "agent.v_max": 10.0}
OWN = {
    "dqn": {**_RMSPROP, **_CLIPPED},
    "double_q": {**_RMSPROP, **_CLIPPED},
    "prioritized": {**_RMSPROP, **_CLIPPED, **_PRIORITIES, "replay.priority_exponent": 0.6},
    "c51": {**_BETAS, **_ATOMS, "agent.double": False},
    "qrdqn": {**_BETAS, "agent.num_quantiles": 201, "agent.kappa": 1.0},
    "iqn": {
        **_BETAS,
        "agent.kappa": 1.0,
        "agent.tau_latent_size": 64,
        "agent.tau_samples_policy": 64,
        "agent.tau_samples_tm1": 64,
        "agent.tau_samples_t": 64,
    },
    "rainbow": {
        **_BETAS,
        **_ATOMS,
        **_PRIORITIES,
        "agent.double": True,
        "agent.exploration_epsilon": 0.0,
        "agent.evaluation_epsilon": 0.0,
        "agent.evaluation_noise": True,
        "transition.n_step": 3,
        "network.head.dueling": True,
        "network.head.noisy": True,
        "network.head.noisy_sigma": 0.1,
        "network.head.shared_bias": False,
        "optimizer.name": "adam",
        "optimizer.learning_rate": 6.25e-5,
        "optimizer.kwargs.eps": 0.005 / 32,
        "optimizer.max_gradient_norm": 10.0,
        "training.target_update_period_frames": 32_000,
        "replay.min_size": 20_000,
        "replay.priority_exponent": 0.5,
        "replay.max_priority": 100.0,
    },
}


@pytest.mark.parametrize("name", OWN)
def test_numbers_are_dqn_zoo_s(name):
    expected = {**COMMON, **OWN[name]}
    if name in TABLE:
        expected |= {**PLAIN, **dict(zip(COLUMNS, TABLE[name], strict=True))}
    found = get(name)
    assert {key: found[key] for key in expected} == expected


def test_the_arguments_of_an_optimizer_are_these_alone():
    """So that none of another optimizer is left over."""
    for name in OWN:
        prefix = "optimizer.kwargs."
        arguments = {key for key in get(name) if key.startswith(prefix)}
        others = {"decay", "centered"} if TABLE.get(name, ("",))[0] == "rmsprop" else {"b1", "b2"}
        assert arguments == {prefix + key for key in {*others, "eps"}}


def get(name):
    """The config's keys by their whole names."""
    config = derived.resolve(importlib.import_module(f"configs.{name}").get_config())
    return flat(config.to_dict())


def flat(section, path=""):
    found = {}
    for key, value in section.items():
        if isinstance(value, dict):
            found |= flat(value, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value
    return found

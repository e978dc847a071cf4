"""Every config can be built; every bad value is named with what is allowed."""

import importlib
import pkgutil

import ml_collections
import pytest

import configs
from core import checks, plugins
from training import derived, experiment, run_settings

# What changes an experiment into another is none itself.
_PARTS = {"modifiers", "streams"}
NAMES = sorted(
    {module.name for module in pkgutil.iter_modules(configs.__path__) if not module.ispkg} - _PARTS
)

# Whose environment is in a package that no other extra has.
_OF_PACKAGES = {"minatar_stream": "minatar"}


def _get(name: str) -> ml_collections.ConfigDict:
    return derived.resolve(importlib.import_module(f"configs.{name}").get_config())


def _make(config: ml_collections.ConfigDict) -> experiment.Experiment:
    return experiment.make(run_settings.parse(config))


_SIZES = [(name, "small") for name in NAMES if name.startswith("continual")]


@pytest.mark.parametrize(("name", "argument"), [*((name, None) for name in NAMES), *_SIZES])
def test_config_builds_and_its_network_has_shapes(name, argument):
    if name in _OF_PACKAGES:
        pytest.importorskip(_OF_PACKAGES[name], reason="its package is an extra that few need")
    get_config = importlib.import_module(f"configs.{name}").get_config
    config = derived.resolve(get_config(argument) if argument else get_config())
    assert config.name == name
    built = _make(config)
    built.environment.close()
    assert "loss" in experiment.metric_names(built)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("replay.capacity", 0, ">= 1"),
        ("replay.min_size", 2_000_000, "at most"),
        ("replay.min_size", 5, "at least"),
        ("replay.uniform_mix", 1.5, "<= 1"),
        ("agent.module", "nothing", "rainbow"),
        ("transition.discount", -0.1, ">= 0"),
        ("network.torso.module", "base", "nature"),
        ("network.norm.kind", "batch", "'layer'"),
        ("environment.module", "base", "atari"),
        ("environment.game", "brakout", "breakout"),
        ("environment.protocol", "other", "machado"),
        ("optimizer.learning_rate", 0.0, "> 0"),
        ("optimizer.projection.moments", "drop", "rescale"),
        ("optimizer.schedule.name", "wavy", "cosine"),
        ("training.target_update_period_frames", 100, "multiple"),
        ("num_envs", 0, ">= 1"),
        ("snapshot.keep", 0, ">= 1"),
        ("platform", "tpu9", "'cpu'"),
    ],
)
def test_bad_value_is_named(key, value, allowed):
    config = _get("rainbow")
    config.update_from_flattened_dict({key: value})
    with pytest.raises(checks.ConfigError) as error:
        _make(config)
    message = str(error.value)
    assert key in message
    assert str(value) in message
    assert allowed in message
    assert "\n" not in message


def test_unknown_key_is_named():
    config = _get("rainbow")
    with config.unlocked():
        config.replay.capacty = 3
    with pytest.raises(checks.ConfigError, match=r"replay\.capacty = 3: unknown key"):
        _make(config)


def test_module_without_make_is_refused():
    with pytest.raises(checks.ConfigError, match="expected a module of networks: "):
        plugins.find("networks", "linear", "network.torso.module")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.integer(1, 3), [1, 3], [0, 4, 1.0, True, "1", None]),
        (checks.number(0, 1), [0, 1, 0.5], [-0.1, 1.1, float("nan"), True, "0"]),
        (checks.number(0, open_low=True), [1e-9, 7], [0, float("inf")]),
        (checks.one_of(1, "a"), [1, "a"], [True, 1.0, "b"]),
        (checks.boolean(), [True, False], [0, 1, None]),
        (checks.each(checks.integer(1)), [(1, 2), [3], ()], [(0,), 3, (1, "a")]),
        (checks.text(), ["x"], ["", 3]),
        (checks.optional(checks.integer(1)), [None, 2], [0, "x"]),
        (checks.section(), [{}, ml_collections.ConfigDict()], [None, "x", (1,)]),
        (checks.plain(), [{}, {"a": [1, {"b": None}]}], [{"a": {1}}, {1: "a"}, [1]]),
        (checks.plain_value(), [None, 1, "a", [0.5]], [float("nan"), {1}, {"a": float("inf")}]),
    ],
)
def test_checks(check, good, bad):
    assert all(check.accepts(value) for value in good)
    assert not any(check.accepts(value) for value in bad)


def test_atari_100k_is_as_published():
    # docs/results/atari_100k/README.md: later changes of the defaults must not reach these runs.
    config = _get("atari_100k")
    published = {
        "num_envs": 1,
        "num_frames": 400_000,
        "environment.protocol": "dqn_zoo",
        "environment.max_episode_frames": 108_000,
        "environment.full_action_space": None,
        "training.update_period_frames": 4,
        "training.target_update_period_frames": 8_000,
        "replay.capacity": 100_000,
        "replay.min_size": 1_600,
        "replay.batch_size": 32,
        "replay.priority_exponent": 0.5,
        "replay.importance_exponent": 0.4,
        "replay.importance_exponent_end": 1.0,
        "replay.importance_exponent_end_steps": 100_000,
        "transition.n_step": 20,
        "transition.discount": 0.99,
        "agent.num_atoms": 51,
        "agent.v_max": 10.0,
        "transition.max_abs_reward": 1.0,
        "transition.frame_stack": 4,
        "agent.exploration_epsilon": 0.0,
        "agent.evaluation_epsilon": 1e-3,
        "agent.evaluation_noise": False,
        "network.torso.module": "data_efficient",
        "network.norm.kind": "none",
        "network.head.hidden_size": 256,
        "network.head.dueling": True,
        "network.head.noisy_sigma": 0.1,
        "optimizer.name": "adam",
        "optimizer.learning_rate": 1e-4,
        "optimizer.kwargs.eps": 1.5e-4,
        "optimizer.max_gradient_norm": 10.0,
        "optimizer.schedule.name": "constant",
        "optimizer.projection.enabled": False,
        "evaluation.episodes": 100,
        "evaluation.period_frames": 400_000,
    }
    found = {key: _find(config, key) for key in published}
    assert found == published


def _find(config: ml_collections.ConfigDict, key: str):
    for name in key.split("."):
        config = config[name]
    return config

"""Keys that follow others: what they are, and that a key which is given changes no other."""

import functools
import importlib
import pkgutil

import numpy as np
import pytest
from ml_collections import config_dict

import configs
from cluster.sweeps import sweep_jobs
from core import checks
from training import derived, run_settings
from training.learning import prioritizing

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module")

_NAMES = sorted(
    {module.name for module in pkgutil.iter_modules(configs.__path__) if not module.ispkg}
)
_PARTS = ("modifiers", "streams")
_CONFIGS = [(name, "") for name in _NAMES if name not in _PARTS]
_CONFIGS += [(name, "small") for name in _NAMES if name.startswith("continual")]

_DURATION = "optimizer.schedule.duration"
_END_STEPS = "replay.importance_exponent_end_steps"
_KEYS = ("num_frames", _DURATION, _END_STEPS)


@functools.cache
def _get(name, argument=""):
    get_config = importlib.import_module(f"configs.{name}").get_config
    return get_config(argument) if argument else get_config()


def _flat(config):
    return _leaves(config.to_dict())


def _leaves(tree, prefix=""):
    """The leaves of nested dicts by their dotted paths."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _leaves(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@pytest.mark.parametrize(
    ("name", "argument", "values"),
    [
        ("rainbow", "", (200_000_000, 12_500_000, 50_000_000)),
        ("rainbow_nap_schedule", "", (200_000_000, 200_000_000, 50_000_000)),
        ("data_efficient_nap_schedule", "", (400_000, 400_000, 100_000)),
        ("cartpole", "", (40_000, 40_000, 40_000)),
        ("probe", "", (6_000, 1_500, 6_000)),
        ("continual_rainbow", "", (400_000_000, 25_000_000, 100_000_000)),
        ("continual_rainbow", "small", (240_000, 30_000, 60_000)),
        ("continual_nap_schedule", "", (400_000_000, 20_000_000, 100_000_000)),
        ("continual_reset", "", (400_000_000, 1_250_000, 5_000_000)),
        ("continual_reset", "small", (240_000, 1_500, 3_000)),
    ],
)
def test_values_of_the_configs(name, argument, values):
    """num_frames, the schedule's duration in its unit, and the exponent's end in agent steps."""
    resolved = derived.resolve(_get(name, argument))
    assert derived.values(resolved) == dict(zip(_KEYS, values))
    assert resolved.is_locked


def _other(value):
    """Another value of the same type, as a flag writes it."""
    if value is None or isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 8
    if isinstance(value, float):
        return value / 2 + 0.125
    if isinstance(value, tuple):
        return '("pong", "qbert", "tennis")' if value and isinstance(value[0], str) else "(1, 2)"
    return f"{value}x"


@pytest.mark.parametrize(("name", "argument"), _CONFIGS)
def test_a_key_that_is_given_changes_itself_and_what_follows_it_alone(name, argument):
    """Every key of every config, given as a flag."""
    config, source = _get(name, argument), f"configs/{name}.py" + f":{argument}" * bool(argument)
    given, resolved = _flat(config), _flat(derived.resolve(config))
    keys = derived.values(derived.resolve(config)).keys()
    unset = {key for key, value in given.items() if value is None}
    assert unset & keys >= keys - {"num_frames"} - _GIVEN.get(name, set())
    for key, value in given.items():
        other = _other(resolved[key] if key in keys else value)
        changed = sweep_jobs._parse([f"--config={source}", f"--config.{key}={other}"])
        assert _different(given, _flat(changed)) == {key}, key
        if key.startswith("environment.") and key not in _SOURCES:
            continue  # of a module, game or protocol that there is not, nothing follows
        following = _different(resolved, _flat(derived.resolve(changed)))
        assert following - {key} <= unset & keys, key
        if key not in _SOURCES:
            assert following == {key}, key


# Of a schedule that is not as long as the run.
_GIVEN = {"ms_pacman_dqn": {"optimizer.schedule.duration"}}
_SOURCES = {
    "num_frames",
    "num_passes",
    "environment.games",
    "environment.frames_per_game",
    "optimizer.schedule.unit",
    "optimizer.q.schedule.unit",
    "optimizer.value.schedule.unit",
    "optimizer.policy.schedule.unit",
    "training.update_period_frames",
    "training.offline_updates",
    "task_switch.restart_schedule",
    "task_switch.restart_importance",
}


def _different(before, after):
    assert before.keys() == after.keys()
    return {key for key in before if before[key] != after[key]}


@pytest.mark.parametrize(
    ("name", "changes", "values"),
    [
        # The issue's: it made a run of 200M frames one of 1M.
        ("rainbow_nap_schedule", {_DURATION: 10**6}, (200_000_000, 10**6, 50_000_000)),
        ("rainbow_nap_schedule", {"num_frames": 10**6}, (10**6, 10**6, 250_000)),
        ("rainbow_nap_schedule", {"num_frames": 10**6, _DURATION: 7}, (10**6, 7, 250_000)),
        ("rainbow", {"optimizer.schedule.unit": "frames"}, (2 * 10**8, 2 * 10**8, 5 * 10**7)),
        # Of no effect where there is one game.
        ("probe", {"task_switch.restart_importance": True}, (6_000, 1_500, 6_000)),
        ("continual_reset", {"num_passes": 1}, (2 * 10**8, 1_250_000, 5_000_000)),
        (
            "continual_nap_schedule",
            {"environment.games": ("pong", "qbert"), "environment.frames_per_game": 1_600},
            (6_400, 1_600, 1_600),
        ),
        ("continual_rainbow", {"num_frames": 1_600}, (1_600, 100, 400)),
        # Updates before anything is played are the schedule's as well.
        ("rainbow", {"training.offline_updates": 9}, (2 * 10**8, 12_500_009, 5 * 10**7)),
        (
            "rainbow_nap_schedule",
            {"training.offline_updates": 9, "num_frames": 1_600},
            (1_600, 1_600 + 9 * 16, 400),
        ),
    ],
)
def test_what_follows_what(name, changes, values):
    config = _get(name).copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    assert derived.values(derived.resolve(config)) == dict(zip(_KEYS, values))


@pytest.mark.parametrize(
    ("name", "steps"), [("continual_rainbow", 60_000), ("continual_reset", 3_000)]
)
def test_the_control_weights_its_samples_in_a_game_as_the_others_do_in_the_run(name, steps):
    """From 0.4 when learning begins to 1 at the end; the control begins anew in every game."""
    settings = run_settings.parse(derived.resolve(_get(name, "small")))
    chosen = prioritizing.make(settings.replay)
    assert chosen is not None
    exponent = chosen.schedule
    middle = (400 + steps) // 2
    values = [float(exponent(np.int32(at))) for at in (0, 400, middle, steps)]
    np.testing.assert_allclose(values, [0.4, 0.4, 0.7, 1.0], rtol=1e-6)


@pytest.mark.parametrize(("key", "least"), [("num_passes", 1), ("environment.frames_per_game", 4)])
def test_a_length_that_is_none_is_named(key, least):
    config = _get("continual_reset").copy_and_resolve_references()
    config.update_from_flattened_dict({key: 0})
    with pytest.raises(checks.ConfigError, match=rf"^{key} = 0: expected an integer >= {least}$"):
        derived.resolve(config)


def test_a_run_without_a_length_is_refused():
    config = _get("probe").copy_and_resolve_references()
    with config.unlocked():
        config.num_frames = config_dict.placeholder(int)
    with pytest.raises(checks.ConfigError, match="num_frames = None: expected an integer >= 1"):
        run_settings.parse(derived.resolve(config))


def test_changes_are_told_of_keys_that_were_not_given():
    config = _get("rainbow_nap_schedule")
    longer = config.copy_and_resolve_references()
    longer.num_frames = 400_000_000
    assert derived.describe_changes(config, longer) == [
        "optimizer.schedule.duration follows num_frames: 400000000 (was 200000000)",
        f"{_END_STEPS} follows num_frames: 100000000 (was 50000000)",
    ]
    longer.optimizer.schedule.duration = 200_000_000
    assert len(derived.describe_changes(config, longer)) == 1
    assert derived.describe_changes(config, config) == []

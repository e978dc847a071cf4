"""Learning-rate schedules by name, from the section `optimizer.schedule` of a config.

The learning rate itself, lr below, is `optimizer.learning_rate`.

| name             | value                                                | keys used           |
|------------------|------------------------------------------------------|---------------------|
| constant         | lr                                                   |                     |
| linear           | lr until `begin`, then straight to end_value, which  | begin, duration,    |
|                  | it reaches `duration` later                          | end_value           |
| cosine           | half a cosine wave from lr to end_value              | duration, end_value |
| warmup_cosine    | straight from init_value to lr in `warmup`, then     | init_value, warmup, |
|                  | cosine to end_value, which it reaches at `duration`  | duration, end_value |
|                  | (counted from the start, warm-up included)           |                     |
| piecewise        | lr, multiplied by scales[i] from boundaries[i] on    | boundaries, scales  |
| norm_growth      | lr times the decay that a recorded run's norm growth | norms_file, power,  |
|                  | implied (plasticity/norm_growth.py)                  | layer_wise          |

begin, warmup, duration and boundaries are in `unit`: updates or emulator frames; frames are
rounded to whole updates. Keys that a schedule does not use have no effect. duration follows the
length of the run, or of a game, as long as it is not given (training/derived.py);
`task_switch.restart_schedule` begins the schedule anew in every game. The defaults of init_value,
end_value and warmup are those of the continual run of the NaP paper (Lyle et al. 2024, arXiv
2407.01800): in each game of 20M frames, 16 to an update, from 1e-8 to lr in 1000 updates, then to
1e-6; lr is 6.25e-4 there, where Rainbow's own is 6.25e-5.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import ml_collections
import numpy as np
import optax
from ml_collections import config_dict

from core import checks
from plasticity import norm_growth, projection

SECTION = "optimizer.schedule"

CHECKS: Mapping[str, checks.Check] = {
    "name": checks.one_of(
        "constant", "linear", "cosine", "warmup_cosine", "piecewise", "norm_growth"
    ),
    "unit": checks.one_of("updates", "frames"),
    "init_value": checks.number(0),
    "end_value": checks.number(0),
    "begin": checks.integer(0),
    "warmup": checks.integer(0),
    "duration": checks.integer(1),
    "boundaries": checks.each(checks.integer(1)),
    "scales": checks.each(checks.number(0)),
    "norms_file": checks.Check("a path, or '' for none", lambda v: isinstance(v, str)),
    "power": checks.one_of(1, 2),
    "layer_wise": checks.boolean(),
}


def default_config() -> ml_collections.ConfigDict:
    """The section `optimizer.schedule`: constant; the module's docstring explains the keys."""
    return ml_collections.ConfigDict(
        {
            "name": "constant",
            "unit": "updates",
            "init_value": 1e-8,
            "end_value": 1e-6,
            "begin": 0,
            "warmup": 1000,
            "duration": config_dict.placeholder(int),
            "boundaries": (),
            "scales": (),
            "norms_file": "",
            # 1 for Adam, 2 for SGD.
            "power": 1,
            # Each layer has its own factor (see make_layer_factors), or one for everything.
            "layer_wise": True,
        }
    )


def make_schedule(
    config: Mapping[str, Any], learning_rate: float, frames_per_update: float
) -> optax.Schedule:
    """Builds the schedule that the section `optimizer.schedule` names.

    Args:
      config: the section, with all keys of `default_config`.
      learning_rate: lr, the value that the schedule starts from or warms up to.
      frames_per_update: emulator frames between updates, e.g. 16; used if the unit is frames.

    Returns:
      The learning rate as a function of the number of updates done.

    Raises:
      ConfigError: for a bad key or value, lengths that don't fit each other, or a bad norms file.
    """
    _verify(config, learning_rate)

    def updates(key: str) -> Any:
        value = config[key]
        if isinstance(value, int):
            return _in_updates(config, key, value, frames_per_update)
        return [_in_updates(config, key, length, frames_per_update) for length in value]

    return _BUILDERS[config["name"]](config, learning_rate, updates)


def make_layer_factors(
    config: Mapping[str, Any], settings: projection.ProjectionSettings
) -> optax.GradientTransformation:
    """The layer-wise part of a schedule: to be chained after the optimizer, inside `project`.

    Args:
      config: the section `optimizer.schedule`.
      settings: the projection's settings, which say what a layer is.

    Returns:
      `norm_growth.scale_by_norm_growth` for a layer-wise norm_growth, else the identity.

    Raises:
      ConfigError: for a bad key or value or a bad norms file; from `init`, if the file's layers
        are not the projected ones.
    """
    checks.verify(SECTION, config, CHECKS)
    if not _is_layer_wise(config):
        return optax.identity()
    recorded = norm_growth.RecordedNorms.load(config["norms_file"])
    return norm_growth.scale_by_norm_growth(recorded, config["power"], settings)


def make_layer_rates(
    config: Mapping[str, Any], learning_rate: float, frames_per_update: float
) -> Callable[[int, str], float]:
    """The learning rate of a single layer, for logs; arguments as of `make_schedule`.

    Returns:
      (updates done, layer's name) -> the schedule's value, times the layer's factor if it has one.

    Raises:
      ConfigError: as `make_schedule`.
    """
    schedule = make_schedule(config, learning_rate, frames_per_update)
    if not _is_layer_wise(config):
        return lambda count, layer: float(np.asarray(schedule(count)))
    recorded = norm_growth.RecordedNorms.load(config["norms_file"])
    factors = norm_growth.layer_factors(recorded, config["power"])
    return lambda count, layer: float(
        np.asarray(schedule(count)) * np.asarray(factors(count).get(layer, 1.0))
    )


def _is_layer_wise(config: Mapping[str, Any]) -> bool:
    return config["name"] == "norm_growth" and config["layer_wise"]


def _verify(config: Mapping[str, Any], learning_rate: float) -> None:
    checks.verify(SECTION, config, CHECKS)
    positive = checks.number(0, open_low=True)
    if not positive.accepts(learning_rate):
        raise checks.ConfigError(
            f"optimizer.learning_rate = {learning_rate!r}: expected {positive.allowed}"
        )


def _in_updates(config: Mapping[str, Any], key: str, length: int, frames_per_update: float) -> int:
    """A length from the config in whole updates; a length > 0 must not become 0."""
    if config["unit"] == "updates":
        return length
    updates = round(length / frames_per_update)
    if length and not updates:
        _raise(config, key, f"at least one update of {frames_per_update} frames, or 0")
    return updates


def _constant(config, learning_rate, updates) -> optax.Schedule:
    del config, updates
    return optax.constant_schedule(learning_rate)


def _linear(config, learning_rate, updates) -> optax.Schedule:
    end = config["end_value"]
    return optax.linear_schedule(learning_rate, end, updates("duration"), updates("begin"))


def _cosine(config, learning_rate, updates) -> optax.Schedule:
    alpha = config["end_value"] / learning_rate
    return optax.cosine_decay_schedule(learning_rate, updates("duration"), alpha)


def _warmup_cosine(config, learning_rate, updates) -> optax.Schedule:
    warmup, duration = updates("warmup"), updates("duration")
    if warmup >= duration:
        _raise(config, "warmup", f"less than duration = {config['duration']}")
    return optax.warmup_cosine_decay_schedule(
        config["init_value"], learning_rate, warmup, duration, config["end_value"]
    )


def _piecewise(config, learning_rate, updates) -> optax.Schedule:
    boundaries, scales = updates("boundaries"), config["scales"]
    if sorted(set(boundaries)) != boundaries:
        _raise(config, "boundaries", "increasing updates")
    if len(scales) != len(boundaries):
        _raise(config, "scales", f"one for each of the {len(boundaries)} boundaries")
    return optax.piecewise_constant_schedule(learning_rate, dict(zip(boundaries, scales)))


def _norm_growth(config, learning_rate, updates) -> optax.Schedule:
    del updates
    if config["layer_wise"]:
        return optax.constant_schedule(learning_rate)
    recorded = norm_growth.RecordedNorms.load(config["norms_file"])
    factor = norm_growth.global_factor(recorded, config["power"])
    return lambda count: learning_rate * factor(count)


def _raise(config: Mapping[str, Any], key: str, expected: str) -> NoReturn:
    raise checks.ConfigError(f"{SECTION}.{key} = {config[key]!r}: expected {expected}")


_BUILDERS: Mapping[str, Callable[..., optax.Schedule]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "warmup_cosine": _warmup_cosine,
    "piecewise": _piecewise,
    "norm_growth": _norm_growth,
}

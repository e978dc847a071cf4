"""Keys of a config that follow others as long as they are not given: they are None in the config.

* `num_frames`, of a sequence: `num_passes` through its games of `environment.frames_per_game` each.
* `optimizer.schedule.duration`: the length of the run, or of a game where
  `task_switch.restart_schedule` is set; in `optimizer.schedule.unit`.
* `replay.importance_exponent_end_steps`: the length of the run in agent steps, as in DQN Zoo, or of
  a game where `task_switch.restart_importance` is set.

So a key that is given changes itself and, of these, those alone that are not given. A run's
config.json has the config as given, so that a finished run can be made longer and what follows its
length does so again; provenance.jsonl has the values with which each start of the run went on.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_collections

from core import checks
from envs import base as envs_base


class _Follows(NamedTuple):
    """A value, and the key that it follows."""

    value: int
    key: str


def _num_frames(config: Any) -> _Follows | None:
    if "frames_per_game" not in config.environment:
        return None
    frames = _positive(config, "environment.frames_per_game")
    passes = _positive(config, "num_passes")
    return _Follows(passes * len(config.environment.games) * frames, "num_passes")


def _duration(config: Any) -> _Follows | None:
    length = _length(config, config.task_switch.restart_schedule)
    if length is None or config.optimizer.schedule.unit == "frames":
        return length
    period = _positive(config, "training.update_period_frames")
    return length._replace(value=max(1, length.value // period))


def _importance_exponent_end_steps(config: Any) -> _Follows | None:
    length = _length(config, config.task_switch.restart_importance)
    if length is None:
        return None
    frames_per_step = envs_base.frames_per_step(config.environment)
    return length._replace(value=max(1, length.value // frames_per_step))


def _length(config: Any, is_of_game: bool) -> _Follows | None:
    """Frames of the run, or of each of a sequence's games."""
    if is_of_game and "frames_per_game" in config.environment:
        key = "environment.frames_per_game"
    else:
        key = "num_frames"
    # Without a length, experiment.verify says what is missing.
    return None if _find(config, key) is None else _Follows(_positive(config, key), key)


# In the order in which they follow each other.
_RULES: Mapping[str, Callable[[Any], _Follows | None]] = {
    "num_frames": _num_frames,
    "optimizer.schedule.duration": _duration,
    "replay.importance_exponent_end_steps": _importance_exponent_end_steps,
}
KEYS = tuple(_RULES)


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy in which every key has a value; to be called where a config enters a program.

    Raises:
      ConfigError: if a key that another one follows has no length's value.
    """
    resolved = config.copy_and_resolve_references()
    for key, rule in _RULES.items():
        if _find(resolved, key) is None and (follows := rule(resolved)):
            _set(resolved, key, follows.value)
    return resolved


def values(config: ml_collections.ConfigDict) -> dict[str, int]:
    """What the keys have in a resolved config."""
    return {key: _find(config, key) for key in KEYS}


def describe_changes(
    before: ml_collections.ConfigDict, after: ml_collections.ConfigDict
) -> list[str]:
    """A line for each key that is given in neither config and differs when they are resolved."""
    lines = []
    old, new = resolve(before), resolve(after)
    for key, rule in _RULES.items():
        was, value = _find(old, key), _find(new, key)
        is_given = _find(after, key) is not None or _find(before, key) is not None
        follows = None if is_given or was == value else rule(new)
        if follows:
            lines.append(f"{key} follows {follows.key}: {value} (was {was})")
    return lines


def _find(config: Any, key: str) -> Any:
    """The value of a key given by its path; also "" where a section lacks it."""
    for name in key.split("."):
        if not isinstance(config, (Mapping, ml_collections.ConfigDict)) or name not in config:
            return ""
        config = config[name]
    return config


def _set(config: ml_collections.ConfigDict, key: str, value: int) -> None:
    *sections, name = key.split(".")
    section: Any = config
    for part in sections:
        section = section[part]
    section[name] = value


def _positive(config: Any, key: str) -> int:
    value, allowed = _find(config, key), checks.integer(1)
    if not allowed.accepts(value):
        raise checks.ConfigError(f"{key} = {value!r}: expected {allowed.allowed}")
    return value

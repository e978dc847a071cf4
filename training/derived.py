"""Keys of a config that follow others unless they are given: they are None in the config.

* `num_frames` of a sequence: `num_passes` through its tasks.
* `duration` of every schedule in `optimizer`: the length of the run, offline updates included, or
  of a task where `task_switch.restart_schedule` is set; in the schedule's unit.
* `replay.importance_exponent_end_steps`: the length of the run in agent steps, as in DQN Zoo, or of
  a task where `task_switch.restart_importance` is set.

So giving a key changes that key and, of the keys above, only those not given. A run's config.json
has the config as given, so that a finished run can be extended and the keys that follow its length
change with it; provenance.jsonl has the values that each start of the run used.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from core import checks
from envs import base as envs_base


class _Follows(NamedTuple):
    """A value, and the key that it follows."""

    value: int
    key: str


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy in which every key has a value; call it where a config enters a program.

    Raises:
      ConfigError: if a key that another follows is not a positive number, or the environment is
        invalid.
    """
    resolved = config.copy_and_resolve_references()
    # In this order: the length of the run comes first.
    for key in ["num_frames", *_others(resolved)]:
        if _find(resolved, key) is None and (follows := _follow(resolved, key)):
            _set(resolved, key, follows.value)
    return resolved


def values(config: ml_collections.ConfigDict) -> dict[str, int]:
    """The keys' values in a resolved config."""
    return {key: _find(config, key) for key in ["num_frames", *_others(config)]}


def describe_changes(
    before: ml_collections.ConfigDict, after: ml_collections.ConfigDict
) -> list[str]:
    """A line for each key that is given in neither config and differs when they are resolved."""
    lines = []
    old, new = resolve(before), resolve(after)
    for key in ["num_frames", *_others(new)]:
        was, value = _find(old, key), _find(new, key)
        is_given = _find(after, key) is not None or _find(before, key) is not None
        follows = None if is_given or was == value else _follow(new, key)
        if follows:
            lines.append(f"{key} follows {follows.key}: {value} (was {was})")
    return lines


def _others(config: Any) -> Iterator[str]:
    """The keys that follow the length of the run or of a task."""
    yield from _durations(_find(config, "optimizer"), "optimizer")
    if _find(config, "replay.importance_exponent_end_steps") != "":
        yield "replay.importance_exponent_end_steps"


def _durations(section: Any, path: str) -> Iterator[str]:
    """The paths of the durations of all schedules in a section."""
    if isinstance(section, (Mapping, ml_collections.ConfigDict)):
        for name in section:
            inner = f"{path}.{name}"
            if name == "schedule" and _find(section, "schedule.duration") != "":
                yield f"{inner}.duration"
            else:
                yield from _durations(section[name], inner)


def _follow(config: Any, key: str) -> _Follows | None:
    """The value of a key that is not given; None if it can't be determined."""
    if key == "num_frames":
        return _num_frames(config)
    if key.endswith(".duration"):
        return _duration(config, key)
    length = _length(config, config.task_switch.restart_importance)
    if length is None:
        return None
    frames_per_step = envs_base.frames_per_step(envs_base.parse(config.environment))
    return length._replace(value=max(1, length.value // frames_per_step))


def _num_frames(config: Any) -> _Follows | None:
    environment = envs_base.parse(config.environment)
    if not envs_base.is_sequence(environment):
        return None
    passes = _positive(config, "num_passes")
    num_tasks = len(envs_base.tasks(environment))
    return _Follows(passes * num_tasks * envs_base.frames_per_task(environment), "num_passes")


def _duration(config: Any, key: str) -> _Follows | None:
    length = _length(config, config.task_switch.restart_schedule)
    if length is None:
        return None
    period = _positive(config, "training.update_period_frames")
    # A schedule counts these updates as well.
    offline = 0 if config.task_switch.restart_schedule else config.training.offline_updates
    if _find(config, key.removesuffix("duration") + "unit") == "frames":
        return length._replace(value=length.value + offline * period)
    return length._replace(value=max(1, length.value // period + offline))


def _length(config: Any, is_of_task: bool) -> _Follows | None:
    """Frames of the run, or of each of a sequence's tasks."""
    environment = envs_base.parse(config.environment)
    if is_of_task and envs_base.is_sequence(environment):
        frames = envs_base.frames_per_task(environment)
        return _Follows(frames, envs_base.frames_per_task_key(environment))
    # Without a length, parsing the settings says what is missing.
    if _find(config, "num_frames") is None:
        return None
    return _Follows(_positive(config, "num_frames"), "num_frames")


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

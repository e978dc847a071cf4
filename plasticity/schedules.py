"""Learning-rate schedules by name, from the section `optimizer.schedule` of a config.

The learning rate itself, lr below, is `optimizer.learning_rate`.

| name             | value                                                | keys used           |
|------------------|------------------------------------------------------|---------------------|
| constant         | lr                                                   |                     |
| linear           | lr until `begin`, then linearly to end_value, which  | begin, duration,    |
|                  | it reaches `duration` later                          | end_value           |
| cosine           | half a cosine wave from lr to end_value              | duration, end_value |
| warmup_cosine    | linearly from init_value to lr in `warmup`, then     | init_value, warmup, |
|                  | cosine to end_value, which it reaches at `duration`  | duration, end_value |
|                  | (counted from the start, warm-up included)           |                     |
| piecewise        | lr, multiplied by scales[i] from boundaries[i] on    | boundaries, scales  |
| norm_growth      | lr times the decay that a recorded run's norm growth | norms_file, power,  |
|                  | implied (plasticity/norm_growth.py)                  | layer_wise          |

begin, warmup, duration and boundaries are in `unit`: updates or emulator frames; frames are
rounded to whole updates. Keys that a schedule does not use have no effect. duration follows the
length of the run, or of a game, unless it is given (training/derived.py);
`task_switch.restart_schedule` restarts the schedule in every game. The defaults of init_value,
end_value and warmup are those of the continual run of the NaP paper (Lyle et al. 2024, arXiv
2407.01800): in each game of 20M frames, 16 per update, from 1e-8 to lr in 1000 updates, then to
1e-6; lr is 6.25e-4 there, while Rainbow's own is 6.25e-5.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import optax

from core import checks, settings
from plasticity import norm_growth, projection

SECTION = "optimizer.schedule"

_NAMES = ("constant", "linear", "cosine", "warmup_cosine", "piecewise", "norm_growth")


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """The section `optimizer.schedule`; the module's docstring says which schedule uses what."""

    name: str = settings.key(
        "constant", checks.one_of(*_NAMES), "of the schedule", "DQN Zoo's is constant"
    )
    unit: str = settings.key(
        "updates", checks.one_of("updates", "frames"), "of begin, warmup, duration, boundaries"
    )
    init_value: float = settings.key(
        1e-8, checks.number(0), "the rate that a warm-up begins with", "Lyle et al. 2024"
    )
    end_value: float = settings.key(
        1e-6, checks.number(0), "the rate at the end", "Lyle et al. 2024"
    )
    begin: int = settings.key(0, checks.integer(0), "when a linear decay begins")
    warmup: int = settings.key(1000, checks.integer(0), "length of a warm-up", "Lyle et al. 2024")
    duration: int | None = settings.key(
        None,
        checks.integer(1),
        "length of the schedule; not given: that of the run, or of a task where "
        "task_switch.restart_schedule is set",
    )
    boundaries: tuple[int, ...] = settings.key(
        (), checks.each(checks.integer(1)), "from where on the rate is scaled"
    )
    scales: tuple[float, ...] = settings.key(
        (), checks.each(checks.number(0)), "by what the rate is multiplied from each boundary on"
    )
    norms_file: str = settings.key(
        "",
        checks.Check("a path, or '' for none", lambda v: isinstance(v, str)),
        "norms that a run recorded: its norms_seed_<k>.csv",
    )
    power: int = settings.key(1, checks.one_of(1, 2), "of the norms: 1 for Adam, 2 for SGD")
    layer_wise: bool = settings.key(
        True,
        checks.boolean(),
        "whether norm_growth gives each layer a factor of its own, or all of them one",
    )

    @property
    def is_layer_wise(self) -> bool:
        """Whether layers have rates of their own."""
        return self.name == "norm_growth" and self.layer_wise


def make_schedule(
    schedule: ScheduleSettings, learning_rate: float, frames_per_update: float
) -> optax.Schedule:
    """Builds the schedule that the section `optimizer.schedule` names.

    Args:
      schedule: the section; its duration is given.
      learning_rate: lr, the value that the schedule starts from or warms up to.
      frames_per_update: emulator frames between updates, e.g. 16; used if the unit is frames.

    Returns:
      The learning rate as a function of the number of updates done.

    Raises:
      ConfigError: for lengths that don't fit each other, or a bad norms file.
    """

    def updates(key: str) -> Any:
        value = getattr(schedule, key)
        if value is None:
            _raise(schedule, key, "an integer >= 1")
        if isinstance(value, int):
            return _in_updates(schedule, key, value, frames_per_update)
        return [_in_updates(schedule, key, length, frames_per_update) for length in value]

    return _BUILDERS[schedule.name](schedule, learning_rate, updates)


def make_layer_factors(
    schedule: ScheduleSettings, projected: projection.Projection
) -> optax.GradientTransformation:
    """The layer-wise part of a schedule: to be chained after the optimizer, inside `project`.

    Args:
      schedule: the section `optimizer.schedule`.
      projected: says what a layer is.

    Returns:
      `norm_growth.scale_by_norm_growth` for a layer-wise norm_growth, else the identity.

    Raises:
      ConfigError: for a bad norms file; from `init`, if the file's layers are not the projected
        ones.
    """
    if not schedule.is_layer_wise:
        return optax.identity()
    recorded = norm_growth.RecordedNorms.load(schedule.norms_file)
    return norm_growth.scale_by_norm_growth(recorded, schedule.power, projected)


def _in_updates(schedule: ScheduleSettings, key: str, length: int, frames_per_update: float) -> int:
    """A length from the config in whole updates; a length > 0 must not become 0."""
    if schedule.unit == "updates":
        return length
    updates = round(length / frames_per_update)
    if length and not updates:
        _raise(schedule, key, f"at least one update of {frames_per_update} frames, or 0")
    return updates


def _constant(schedule, learning_rate, updates) -> optax.Schedule:
    del schedule, updates
    return optax.constant_schedule(learning_rate)


def _linear(schedule, learning_rate, updates) -> optax.Schedule:
    end = schedule.end_value
    return optax.linear_schedule(learning_rate, end, updates("duration"), updates("begin"))


def _cosine(schedule, learning_rate, updates) -> optax.Schedule:
    alpha = schedule.end_value / learning_rate
    return optax.cosine_decay_schedule(learning_rate, updates("duration"), alpha)


def _warmup_cosine(schedule, learning_rate, updates) -> optax.Schedule:
    warmup, duration = updates("warmup"), updates("duration")
    if warmup >= duration:
        _raise(schedule, "warmup", f"less than duration = {schedule.duration}")
    return optax.warmup_cosine_decay_schedule(
        schedule.init_value, learning_rate, warmup, duration, schedule.end_value
    )


def _piecewise(schedule, learning_rate, updates) -> optax.Schedule:
    boundaries, scales = updates("boundaries"), schedule.scales
    if sorted(set(boundaries)) != boundaries:
        _raise(schedule, "boundaries", "increasing updates")
    if len(scales) != len(boundaries):
        _raise(schedule, "scales", f"one for each of the {len(boundaries)} boundaries")
    return optax.piecewise_constant_schedule(learning_rate, dict(zip(boundaries, scales)))


def _norm_growth(schedule, learning_rate, updates) -> optax.Schedule:
    del updates
    if schedule.layer_wise:
        return optax.constant_schedule(learning_rate)
    recorded = norm_growth.RecordedNorms.load(schedule.norms_file)
    factor = norm_growth.global_factor(recorded, schedule.power)
    return lambda count: learning_rate * factor(count)


def _raise(schedule: ScheduleSettings, key: str, expected: str) -> NoReturn:
    raise checks.ConfigError(f"{SECTION}.{key} = {getattr(schedule, key)!r}: expected {expected}")


_BUILDERS: Mapping[str, Callable[..., optax.Schedule]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "warmup_cosine": _warmup_cosine,
    "piecewise": _piecewise,
    "norm_growth": _norm_growth,
}

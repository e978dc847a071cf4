"""One line about all processes of a distributed run."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Condition:
    """The state of a process.

    Attributes:
      label: of the process.
      status: its last status, all keys of which are optional.
      trouble: what to show instead or as well, such as "silent for 70 s"; "": nothing.
    """

    label: str
    status: Mapping[str, Any]
    trouble: str = ""


def compose(
    learner: Condition, actors: Sequence[Condition], others: Sequence[Condition], restarts: int
) -> str:
    """The line.

    Args:
      learner: its numbers are the run's.
      actors: only their rates and the age of their parameters are shown.
      others: only their troubles are shown.
      restarts: how often a process was started again.
    """
    parts = [_learner(learner), _actors(actors)]
    parts += [_trouble(other) for other in others]
    return " | ".join([*filter(None, parts), f"restarts {restarts}"])


def _learner(learner: Condition) -> str:
    status = learner.status
    parts = [
        _progress(status),
        _number(status, "frames_per_second", "{:.0f} frames/s"),
        _number(status, "updates_per_second", "{:.3g} updates/s"),
        _number(status, "replay_size", "replay {:.0f}"),
        _return(status),
        _trouble(learner),
    ]
    return "  ".join(filter(None, parts))


def _progress(status: Mapping[str, Any]) -> str:
    frames, num_frames = _get(status, "frames"), _get(status, "num_frames")
    if frames is None:
        return ""
    if not num_frames:
        return f"frame {frames:.0f}"
    return f"{100 * frames / num_frames:.1f} %  frame {frames:.0f} of {num_frames:.0f}"


def _return(status: Mapping[str, Any]) -> str:
    text = _number(status, "mean_return", "return {:.4g}")
    return f"{text} in {status['game']}" if text and status.get("game") else text


def _actors(actors: Sequence[Condition]) -> str:
    num_well = sum(not actor.trouble for actor in actors)
    rates = [_rate(actor) for actor in actors]
    ages = [_get(actor.status, "parameter_age_seconds") for actor in actors if not actor.trouble]
    known = [age for age in ages if age is not None]
    text = f"actors {num_well}/{len(actors)}: {' '.join(rates)} frames/s"
    return f"{text}, parameters {max(known):.1f} s old" if known else text


def _rate(actor: Condition) -> str:
    """The frames per second, or the first word of the trouble."""
    if actor.trouble:
        return actor.trouble.split()[0].rstrip(",")
    return _number(actor.status, "frames_per_second", "{:.0f}") or "?"


def _trouble(condition: Condition) -> str:
    return f"{condition.label} {condition.trouble}" if condition.trouble else ""


def _number(status: Mapping[str, Any], key: str, form: str) -> str:
    value = _get(status, key)
    return "" if value is None else form.format(value)


def _get(status: Mapping[str, Any], key: str) -> float | None:
    """A finite number in a status; None if there is none."""
    value = status.get(key)
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None

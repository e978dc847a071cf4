"""Sections of a configuration with changes, parsed as those of a run are."""

from collections.abc import Mapping
from typing import Any, TypeVar

from core import settings

T = TypeVar("T")

# Keys that follow others as long as they are not given (training/derived.py).
_FOLLOWING = ("num_frames", "duration", "importance_exponent_end_steps")


def parse(cls: type[T], path: str, **changes: Any) -> T:
    """The settings of the section `path` with defaults but for these changes."""
    defaults = resolved(settings.to_config(cls()).to_dict())
    return settings.parse(cls, {**defaults, **changes}, path)


def resolved(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section in which keys that follow others are given."""
    found = {}
    for key, value in section.items():
        is_missing = value is None and key in _FOLLOWING
        found[key] = resolved(value) if isinstance(value, Mapping) else value
        found[key] = 1_000_000 if is_missing else found[key]
    return found

"""Sections of a configuration with changes, parsed as those of a run are."""

from typing import Any, TypeVar

from core import settings

T = TypeVar("T")


def parse(cls: type[T], path: str, **changes: Any) -> T:
    """The settings of the section `path` with defaults but for these changes."""
    return settings.parse(cls, {**settings.to_config(cls()).to_dict(), **changes}, path)

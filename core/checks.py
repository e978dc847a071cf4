"""Checks of configuration values: every error names the key, the value and what is allowed."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class ConfigError(ValueError):
    """A configuration that can't be run; the message is one line fit for the command line."""


@contextlib.contextmanager
def renamed(own_name: str, path: str) -> Iterator[None]:
    """Errors raised in here have a section's keys at its place, instead of under its own name.

    Args:
      own_name: what its code calls it, such as "optimizer"; "": nothing is renamed.
      path: where it is in the configuration, such as "optimizer.policy".
    """
    try:
        yield
    except ConfigError as error:
        told = str(error)
        if not own_name or f"{path}." in told:
            raise
        raise ConfigError(told.replace(f"{own_name}.", f"{path}.")) from error


@dataclasses.dataclass(frozen=True)
class Check:
    """What a key's value may be: a predicate and its description for the error message."""

    allowed: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def integer(low: int, high: int | None = None) -> Check:
    """An integer in [low, high] (no upper bound if high is None)."""
    if high is None:
        return Check(f"an integer >= {low}", lambda v: _is_integer(v) and v >= low)
    return Check(f"an integer from {low} to {high}", lambda v: _is_integer(v) and low <= v <= high)


def number(low: float, high: float | None = None, *, open_low: bool = False) -> Check:
    """A finite number in [low, high], or in (low, high] with `open_low`."""
    top = float("inf") if high is None else high

    def accepts(value: Any) -> bool:
        if not _is_number(value) or (isinstance(value, float) and not math.isfinite(value)):
            return False
        return (value > low if open_low else value >= low) and value <= top

    bound = f"a number {'>' if open_low else '>='} {low}"
    return Check(bound if high is None else f"{bound} and <= {high}", accepts)


def one_of(*values: Any) -> Check:
    """One of the values listed."""
    listed = ", ".join(repr(v) for v in values)
    # `1 == True` in Python: compare types too, so that a flag isn't taken for a count.
    return Check(f"one of {listed}", lambda v: any(type(v) is type(x) and v == x for x in values))


def boolean() -> Check:
    """True or False."""
    return Check("true or false", lambda v: isinstance(v, bool))


def text() -> Check:
    """A string that is not empty."""
    return Check("a non-empty string", lambda v: isinstance(v, str) and bool(v))


def pattern() -> Check:
    """A regular expression."""

    def is_pattern(value: Any) -> bool:
        try:
            return isinstance(value, str) and re.compile(value) is not None
        except re.error:
            return False

    return Check("a regular expression", is_pattern)


def section() -> Check:
    """Keys and values, which are checked separately."""
    return Check("a section", lambda v: isinstance(v, Mapping) or hasattr(v, "to_dict"))


def optional(check: Check) -> Check:
    """A value that passes, or None for one derived from other keys."""
    return Check(check.allowed, lambda v: v is None or check.accepts(v))


def each(check: Check) -> Check:
    """A list or tuple whose every item passes `check`."""
    return Check(
        f"a list of items, each {check.allowed}",
        lambda v: isinstance(v, (list, tuple)) and all(check.accepts(x) for x in v),
    )


def not_empty(check: Check) -> Check:
    """A list or tuple that passes, with at least one item."""
    return Check(f"{check.allowed}, at least one", lambda v: check.accepts(v) and bool(v))


def plain() -> Check:
    """A dict whose values can be written as JSON."""
    return Check(
        "a dict of finite numbers, texts, booleans, None, lists and dicts",
        lambda v: _is_dict(v) and _is_plain(v),
    )


def plain_value() -> Check:
    """What can be written as JSON."""
    return Check("a finite number, text, boolean, None, or lists and dicts of these", _is_plain)


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping) or hasattr(value, "to_dict")


def _is_plain(value: Any) -> bool:
    if _is_dict(value):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, bool, int))


def verify(section: str, config: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Checks that `config` has exactly the keys of `checks`, each with an allowed value.

    Args:
      section: the config's path, for messages, e.g. "replay".
      config: the section of the configuration.
      checks: what each of its keys may be.

    Raises:
      ConfigError: for the first key that is missing, unknown, or out of range.
    """
    unknown = sorted(set(config) - set(checks))
    if unknown:
        known = ", ".join(sorted(checks))
        raise ConfigError(
            f"{section}.{unknown[0]} = {_shown(config[unknown[0]])}: unknown key; known: {known}"
        )
    for key, check in checks.items():
        if key not in config:
            raise ConfigError(f"{section}.{key} is missing: expected {check.allowed}")
        if not check.accepts(config[key]):
            raise ConfigError(f"{section}.{key} = {_shown(config[key])}: expected {check.allowed}")


def _shown(value: Any) -> str:
    """A value on one line; a ConfigDict's own repr takes several."""
    return repr(value.to_dict() if hasattr(value, "to_dict") else value)

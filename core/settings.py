"""Sections of a configuration as frozen dataclasses: each key is defined once, next to its code.

A section's keys are fields made by `key`: default, what is allowed, what it means, and where the
default is from. Sections nest by `section`, and by `plugin` or `part_of_plugin` where the class
depends on a key `module`. A config file begins with `to_config`, the command line overrides it, and
`parse` turns the result into the dataclass, with a one-line error for whatever is wrong.
"""

import contextlib
import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import ml_collections
from ml_collections import config_dict

from core import checks, plugins

T = TypeVar("T")

_KEY, _CLASS, _OWN_NAME = "key", "class", "own_name"


class Key(NamedTuple):
    """What is known about a key besides its type and default.

    Attributes:
      check: the values allowed.
      doc: its meaning, with the unit.
      source: where the default is from, such as "DQN Zoo".
    """

    check: checks.Check
    doc: str
    source: str


class Row(NamedTuple):
    """A key of a configuration, for its documentation."""

    path: str
    default: Any
    key: Key


def key(default: Any, check: checks.Check, doc: str, source: str = "") -> Any:
    """A field that is a key of the configuration.

    Args:
      default: its default; None for a key that is derived from others unless given.
      check: the values allowed.
      doc: its meaning, with the unit where it has one.
      source: where the default is from.
    """
    metadata = {_KEY: Key(check, doc, source)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type, own_name: str = "") -> Any:
    """A field that is a section of its own.

    Args:
      cls: its class.
      own_name: what that class's errors call the section, if it has another place here, such as
        "optimizer" for optimizer.policy.
    """
    metadata = {_CLASS: lambda *_: cls, _OWN_NAME: own_name}
    return dataclasses.field(default_factory=cls, metadata=metadata)


def plugin(package: str, default: str, own_name: str = "") -> Any:
    """A section whose class is `Settings` of the module that its key `module` names.

    Args:
      package: where the modules are, such as "networks.torsos".
      default: the module's name.
      own_name: as of `section`.
    """

    def choose(path: str, mapping: Any, root: Any) -> type:
        del root
        return find_plugin(package, path, mapping).Settings

    return dataclasses.field(
        default_factory=lambda: plugins.find(package, default, package).Settings(),
        metadata={_CLASS: choose, _OWN_NAME: own_name},
    )


def part_of_plugin(package: str, owner: str, name: str) -> Any:
    """A section whose class is an attribute of the module that another, top-level section names.

    Args:
      package: where the modules are, such as "agents".
      owner: that section, such as "agent".
      name: of the class in the module, such as "NetworkSettings".
    """

    def choose(path: str, mapping: Any, root: Any) -> type:
        del path, mapping
        return getattr(find_plugin(package, owner, root.get(owner, {})), name)

    return dataclasses.field(default=None, metadata={_CLASS: choose})


def find_plugin(package: str, path: str, mapping: Any) -> types.ModuleType:
    """The module that a section's key `module` names; raises ConfigError if there is none."""
    if not isinstance(mapping, (Mapping, ml_collections.ConfigDict)) or "module" not in mapping:
        raise checks.ConfigError(f"{path}.module is missing: expected a module of {package}")
    name: Any = mapping["module"]
    return plugins.find(package, name, f"{path}.module")


def parse(cls: type[T], mapping: Any, path: str = "", root: Any = None) -> T:
    """Turns a section of a configuration into its dataclass.

    Args:
      cls: the dataclass.
      mapping: the section: a ConfigDict, or any mapping.
      path: of the section in the configuration; "" for all of it.
      root: the whole configuration, for sections whose class another one names; default: `mapping`.

    Raises:
      ConfigError: for the first key that is missing, unknown or out of range, naming key, value and
        what is allowed.
    """
    root = mapping if root is None else root
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]  (T is a dataclass)
    checks.verify(path or "config", mapping, {field.name: _check(field) for field in fields})
    values = {}
    for field in fields:
        value = mapping[field.name]
        if _CLASS in field.metadata:
            inner = f"{path}.{field.name}" if path else field.name
            with checks.renamed(field.metadata.get(_OWN_NAME, ""), inner):
                value = parse(field.metadata[_CLASS](inner, value, root), value, inner, root)
        values[field.name] = _as_plain(value)
    return cls(**values)


def complete(cls: type, mapping: Any, path: str = "", root: Any = None) -> Any:
    """A section with the defaults of the keys that it and its sections lack.

    The arguments are those of `parse`. What is no section of this class is left as it is.
    """
    if isinstance(mapping, ml_collections.ConfigDict):
        mapping = mapping.to_dict()
    if not isinstance(mapping, Mapping):
        return mapping
    root = mapping if root is None else root
    whole = dict(mapping)
    for field in dataclasses.fields(cls):
        inner = f"{path}.{field.name}" if path else field.name
        if field.name not in whole:
            default = _default(field)
            is_section = dataclasses.is_dataclass(default)
            whole[field.name] = to_config(default).to_dict() if is_section else default
        elif _CLASS in field.metadata:
            with contextlib.suppress(checks.ConfigError):  # of a module that there is no more
                chosen = field.metadata[_CLASS](inner, whole[field.name], root)
                whole[field.name] = complete(chosen, whole[field.name], inner, root)
    return whole


def to_config(settings: Any) -> ml_collections.ConfigDict:
    """The section of a config file that `parse` turns into these settings."""
    config = ml_collections.ConfigDict()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            value = to_config(value)
        elif isinstance(value, dict):
            value = ml_collections.ConfigDict(value)
        elif value is None:
            value = config_dict.placeholder(_type_if_given(type(settings), field))
        config[field.name] = value
    return config


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration by their paths, such as "agent.module"."""
    return dict(_items(config, ""))


def _items(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def rows(cls: type, path: str) -> Iterator[Row]:
    """The keys of a section and its subsections, except plug-in sections."""
    for field in dataclasses.fields(cls):
        inner = f"{path}.{field.name}" if path else field.name
        if _KEY in field.metadata:
            yield Row(inner, _default(field), field.metadata[_KEY])
        elif isinstance(field.default_factory, type):
            yield from rows(field.default_factory, inner)


def _default(field: dataclasses.Field) -> Any:
    """A field's value when it is not given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _check(field: dataclasses.Field) -> checks.Check:
    return field.metadata[_KEY].check if _KEY in field.metadata else checks.section()


def _as_plain(value: Any) -> Any:
    """Lists as tuples, sections of a user's own keys as dicts."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_as_plain, value))
    return value.to_dict() if isinstance(value, ml_collections.ConfigDict) else value


def _type_if_given(cls: type, field: dataclasses.Field) -> type:
    """The type of a key that may be None: the other one of its annotation."""
    hint = typing.get_type_hints(cls)[field.name]
    return next(part for part in typing.get_args(hint) if part is not type(None))

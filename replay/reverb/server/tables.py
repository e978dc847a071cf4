"""The tables of a replay server: their description as JSON, checked without Reverb."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from core import checks

_LATEST = {"name": checks.text(), "kind": checks.one_of("latest")}
_QUEUE = {"name": checks.text(), "kind": checks.one_of("queue"), "max_size": checks.integer(1)}
_PRIORITIZED = {
    "name": checks.text(),
    "kind": checks.one_of("prioritized"),
    "max_size": checks.integer(1),
    "min_size": checks.integer(1),
    "priority_exponent": checks.number(0),
}
CHECKS: Mapping[str, Mapping[str, checks.Check]] = {
    "prioritized": _PRIORITIZED,
    "latest": _LATEST,
    "queue": _QUEUE,
}


@dataclasses.dataclass(frozen=True)
class Table:
    """One table of a replay server.

    Attributes:
      name: what clients call it.
      kind: "prioritized", which draws by priority**exponent and drops the oldest; "latest", which
        holds one item, the newest (parameters); or "queue", which serves every item once, the
        oldest first, and drops the oldest when it is full.
      max_size: items it holds.
      min_size: items it must hold before one can be sampled.
      priority_exponent: see `kind`.
    """

    name: str
    kind: str
    max_size: int = 1
    min_size: int = 1
    priority_exponent: float = 0.0


def parse(text: str) -> list[Table]:
    """Reads the description of a server's tables.

    Args:
      text: a JSON list of objects, each with the keys of its kind in `CHECKS`.

    Raises:
      checks.ConfigError: it is not that, or one of its tables could never be sampled.
    """
    try:
        described = json.loads(text)
    except ValueError as error:
        raise checks.ConfigError(f"tables: expected a JSON list of objects: {error}") from error
    if not isinstance(described, list) or not described:
        raise checks.ConfigError(f"tables = {described!r}: expected a list of one or more objects")
    tables = [_table(f"tables[{i}]", config) for i, config in enumerate(described)]
    _check_names([table.name for table in tables])
    return tables


def _table(section: str, config: Any) -> Table:
    if not isinstance(config, dict):
        raise checks.ConfigError(f"{section} = {config!r}: expected an object")
    kind = config.get("kind")
    if not isinstance(kind, str) or kind not in CHECKS:
        raise checks.ConfigError(f"{section}.kind = {kind!r}: expected one of {', '.join(CHECKS)}")
    checks.verify(section, config, CHECKS[kind])
    table = Table(**config)
    if table.min_size > table.max_size:
        raise checks.ConfigError(
            f"{section}.min_size = {table.min_size}: expected at most max_size, {table.max_size}"
        )
    return table


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise checks.ConfigError(f"tables: the name {name!r} comes twice: expected it once")

"""Whether configurations are the same but for what may differ.

Keys are paths, such as "optimizer.learning_rate". Those that may differ are given as patterns, in
which a star stands for anything: "log.*".
"""

import fnmatch
import json
from collections.abc import Mapping, Sequence
from typing import Any

from core import settings

OF_A_SEED = ("seed", "num_seeds", "*schedule.norms_file")
"""Of runs that differ in their seed alone: the norms that one follows are of its own seed."""

WITHOUT_EFFECT = ("platform", "log.*", "snapshot.*", "distributed.*", "environment.num_threads")
"""Where a run computes and what it writes, not what it learns."""


def kept(config: Mapping[str, Any], free: Sequence[str]) -> dict[str, Any]:
    """The values by path, without those that may differ."""
    return {
        key: value
        for key, value in settings.flatten(config).items()
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in free)
    }


def first_difference(
    expected: Mapping[str, Any], found: Mapping[str, Any], free: Sequence[str]
) -> str:
    """The first key that differs, with both values; nothing if there is none."""
    ours, theirs = kept(expected, free), kept(found, free)
    for key in sorted(ours.keys() | theirs.keys()):
        if as_text(ours.get(key)) != as_text(theirs.get(key)):
            return f"{key} = {theirs.get(key)!r} instead of {ours.get(key)!r}"
    return ""


def as_text(value: Any) -> str:
    """The same for the same plain values, in whatever order their keys are."""
    return json.dumps(value, sort_keys=True)

"""The tables that a distributed run needs on its replay server."""

from typing import Any

from replay.device import size

TRANSITIONS, PARAMETERS, ANNOUNCEMENT = "transitions", "parameters", "announcement"
REPORTS, MARK = "reports", "mark"

# The learner takes them within a second; each is about 200 bytes.
_MAX_REPORTS = 100_000


def tables(replay: size.SizeSettings) -> list[dict[str, Any]]:
    """The tables of a run's replay server, as replay/reverb/server/tables.py describes them.

    Args:
      replay: the section `replay`.

    An item's priority in `transitions` is its weight: priority**exponent, mixed with the mean
    (replay/reverb/sampling/priorities.py); so the table's own exponent is 1. Inserts never
    block: the learner alone limits how far the actors may run ahead.
    """
    return [
        {
            "name": TRANSITIONS,
            "kind": "prioritized",
            "max_size": replay.capacity,
            "min_size": replay.min_size,
            "priority_exponent": 1.0,
        },
        {"name": PARAMETERS, "kind": "latest"},
        {"name": ANNOUNCEMENT, "kind": "latest"},
        {"name": REPORTS, "kind": "queue", "max_size": _MAX_REPORTS},
        {"name": MARK, "kind": "latest"},
    ]

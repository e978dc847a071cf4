"""The tables of a distributed run."""

import json

from replay.device import prioritized
from replay.reverb import tables as run_tables
from replay.reverb.server import tables


def test_the_server_takes_the_tables():
    replay = prioritized.Settings(capacity=700, min_size=90)
    transitions, *others = tables.parse(json.dumps(run_tables.tables(replay)))
    assert transitions.max_size == 700
    assert transitions.min_size == 90
    assert transitions.priority_exponent == 1.0
    assert [(table.name, table.kind) for table in others] == [
        ("parameters", "latest"),
        ("announcement", "latest"),
        ("reports", "queue"),
        ("mark", "latest"),
    ]

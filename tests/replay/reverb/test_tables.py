"""The tables of a distributed run."""

import json

import pytest

from configs import rainbow
from core import checks
from replay.reverb import tables as settings
from replay.reverb.server import tables


def _changed(**changes):
    config = rainbow.get_config()
    config.update_from_flattened_dict(changes)
    return config


def test_the_server_takes_the_tables():
    config = rainbow.get_config()
    found = tables.parse(json.dumps(settings.tables(config)))
    transitions, *others = found
    assert transitions.max_size == config.replay.capacity
    assert transitions.min_size == config.replay.min_size
    assert transitions.priority_exponent == 1.0
    assert [(table.name, table.kind) for table in others] == [
        ("parameters", "latest"),
        ("status", "latest"),
        ("reports", "queue"),
        ("mark", "latest"),
    ]


@pytest.mark.parametrize(
    ("changes", "actors", "message"),
    [
        ({"num_seeds": 2}, 2, "num_seeds = 2: expected 1 in a distributed run"),
        ({}, 0, "actors = 0: expected an integer >= 1"),
        ({"distributed.chunk_length": 0}, 2, "distributed.chunk_length = 0: expected an integer"),
        ({"distributed.credit_frames": 0}, 2, "distributed.credit_frames = 0: expected an integ"),
        (
            {"replay.capacity": 100, "distributed.max_unconfirmed": 101},
            2,
            "distributed.max_unconfirmed = 101: expected at most replay.capacity = 100",
        ),
        ({"distributed.actor_platform": "tpu"}, 2, "distributed.actor_platform = 'tpu'"),
        ({"distributed.decoder_processes": -2}, 2, "distributed.decoder_processes = -2"),
        (
            {"distributed.decoder_processes": 5},
            2,
            "distributed.decoder_processes = 5: expected at most the 4 of distributed.prefetch",
        ),
        ({"distributed.journal_segment_mb": 0}, 2, "distributed.journal_segment_mb = 0.0: ex"),
    ],
)
def test_what_cant_be_run_is_refused(changes, actors, message):
    with pytest.raises(checks.ConfigError, match=message):
        settings.verify(_changed(**changes), actors)

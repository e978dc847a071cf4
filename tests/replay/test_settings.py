"""The tables of a distributed run, and what may be in flight."""

import json

import pytest

from configs import checks, data_efficient, rainbow
from replay.reverb import settings
from replay.reverb_server import tables


def _changed(**changes):
    config = rainbow.get_config()
    config.update_from_flattened_dict(changes)
    return config


def test_the_ratio_is_that_of_lock_step():
    """A batch of 32 every 16 frames, 4 frames a step: 8; data-efficient: every step, 32."""
    assert settings.samples_per_insert(rainbow.get_config()) == 8
    assert settings.samples_per_insert(data_efficient.get_config()) == 32


def test_the_error_buffer_is_what_can_be_in_flight():
    """Three actors with 100 transitions each at 8 samples, and 2 + 1 batches of 32."""
    config = _changed(**{"distributed.max_unconfirmed": 100, "distributed.prefetch_batches": 2})
    assert settings.error_buffer(config, 3) == 3 * 100 * 8 + 3 * 32
    assert settings.updates_ahead(config, 3) == (3 * 100 * 8 + 3 * 32) // 32
    config.distributed.error_buffer = 5_000
    assert settings.error_buffer(config, 3) == 5_000


def test_the_server_takes_the_tables():
    config = rainbow.get_config()
    found = tables.parse(json.dumps(settings.tables(config, 2)))
    transitions, *others = found
    assert transitions.max_size == config.replay.capacity
    assert transitions.min_size == config.replay.min_size
    assert (transitions.priority_exponent, transitions.blocks) == (1.0, "inserts")
    assert transitions.error_buffer == settings.least_error_buffer(config, 2)
    assert [(table.name, table.kind) for table in others] == [
        ("parameters", "latest"),
        ("status", "latest"),
        ("reports", "queue"),
    ]


@pytest.mark.parametrize(
    ("changes", "actors", "message"),
    [
        ({"num_seeds": 2}, 2, "num_seeds = 2: expected 1 in a distributed run"),
        ({}, 0, "actors = 0: expected an integer >= 1"),
        ({"distributed.chunk_length": 0}, 2, "distributed.chunk_length = 0: expected an integer"),
        (
            {"distributed.error_buffer": 2_207},
            2,
            "distributed.error_buffer = 2207: expected at least 2208 with 2 actors",
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


def test_the_least_error_buffer_is_accepted():
    settings.verify(_changed(**{"distributed.error_buffer": 2_208}), 2)

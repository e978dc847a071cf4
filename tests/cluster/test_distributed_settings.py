"""What several processes can't run is refused before anything is started."""

import pytest

from cluster import distributed_settings
from configs import rainbow
from configs.supervised import random_labels
from core import checks
from training import derived


def _changed(**changes):
    config = rainbow.get_config()
    config.update_from_flattened_dict(changes)
    return derived.resolve(config)


def test_the_sections_are_parsed():
    run, distributed = distributed_settings.parse(_changed(num_envs=4), 2)
    assert (run.num_envs, distributed.chunk_length) == (4, 4)


@pytest.mark.parametrize(
    ("changes", "actors", "message"),
    [
        ({"num_seeds": 2}, 2, "num_seeds = 2: expected 1 in a distributed run"),
        (
            {"training.dataset": "steps.npz"},
            2,
            "training.dataset = 'steps.npz': expected none in a distributed run",
        ),
        ({}, 0, "actors = 0: expected an integer >= 1"),
        ({"distributed.chunk_length": 0}, 2, "distributed.chunk_length = 0: expected an integer"),
        ({"distributed.credit_frames": 0}, 2, "distributed.credit_frames = 0: expected an integ"),
        (
            {"replay.capacity": 100, "replay.min_size": 90, "distributed.max_unconfirmed": 101},
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
        distributed_settings.parse(_changed(**changes), actors)


def test_a_replay_that_no_server_draws_like_is_refused():
    config = random_labels.get_config()
    config.training.steps_per_call = 1
    with pytest.raises(checks.ConfigError, match=r"replay\.module = 'newest': expected one of pr"):
        distributed_settings.parse(derived.resolve(config), 1)

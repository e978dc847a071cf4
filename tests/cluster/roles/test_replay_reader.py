"""How many processes decode for the learner."""

import jax
import ml_collections
import pytest

from cluster.learning import replay_reader


@pytest.mark.parametrize(
    ("platform", "asked", "prefetch", "expected"),
    [
        ("cpu", -1, 2, 0),
        ("gpu", -1, 2, 2),
        ("gpu", -1, 1, 1),
        ("gpu", 0, 2, 0),
        ("cpu", 2, 3, 2),
    ],
)
def test_number_of_decoders(monkeypatch, platform, asked, prefetch, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    distributed = ml_collections.ConfigDict(
        {"decoder_processes": asked, "prefetch_batches": prefetch}
    )
    assert replay_reader._num_decoders(distributed) == expected

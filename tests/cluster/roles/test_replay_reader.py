"""How many processes decode for the learner, and when it takes their streams for broken."""

from unittest import mock

import jax
import ml_collections
import pytest

from cluster.learning import replay_reader
from replay.reverb import tables, wire


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


def test_a_stream_without_batches_is_taken_for_broken_after_a_while(monkeypatch):
    """One that is cut silently says nothing; the reports come through another one."""
    now = 0.0
    monkeypatch.setattr(replay_reader.time, "monotonic", lambda: now)
    reader = replay_reader.ReplayReader(None, None, None, lambda: False)
    reader._reader, reader.client = mock.Mock(), mock.Mock(address="server")
    table = mock.Mock(size=5, min_size=9)
    reader.client.server_info.return_value = {tables.TRANSITIONS: table}
    reader._reader.take.side_effect = wire.WireTimeoutError("none")

    def is_short():
        assert reader.batch(0.0) is None
        return reader.is_short()

    assert is_short()
    now += 100
    assert is_short()
    table.size = 9
    now += 50
    assert not is_short()
    reader._reader.take.side_effect = ["batch"]
    assert reader.batch(0.0) == "batch"
    reader._reader.take.side_effect = wire.WireTimeoutError("none")
    now += 500
    assert not is_short()
    now += 60
    assert not is_short()
    now += 1
    with pytest.raises(wire.WireTimeoutError, match="server: no batch for 60 s"):
        is_short()

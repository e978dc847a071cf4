"""The wire client against a real replay server, the official client beside it.

Needs the replay server's environment: make replay-env.
"""

import base64
import io
import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from replay.reverb import wire
from replay.reverb.wire import messages
from tests import waiting
from tests.replay.reverb import replay_server
from tests.replay.reverb.replay_server import TABLES, Server, prioritized
from training.system import exit_codes

ORACLE = Path(__file__).with_name("reverb_oracle.py")

pytestmark = replay_server.needs_server


class Oracle:
    """The official client, in its own process."""

    def __init__(self, address):
        self.process = subprocess.Popen(
            [replay_server.PYTHON, ORACLE, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, name, **arguments):
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the oracle ended in {name}"
        return json.loads(answer)


@pytest.fixture(scope="session")
def oracle(server):
    running = Oracle(server.address)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def client(server):
    with wire.Client(server.address) as connected:
        for table in TABLES:
            connected.reset(table["name"])
        yield connected


def pack(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode()


def unpack(text):
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def identical(array, expected):
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert array.tobytes() == np.ascontiguousarray(expected).tobytes()


def make_steps(num_steps, seed=0):
    """Columns [T, ...] of the kinds that a transition has."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 256, (num_steps, 7, 5), np.uint8),
        rng.normal(size=(num_steps, 3)).astype(np.float32),
        rng.integers(-(2**31), 2**31, num_steps, np.int32),
        rng.normal(size=num_steps),
        rng.integers(0, 2, (num_steps, 2)).astype(bool),
        rng.integers(-(2**63), 2**63 - 1, num_steps, np.int64),
    ]


def write_windows(writer, table, steps, length, chunk_length, priority=1.0):
    """Items of every `length` steps in a row: chunks are shared. Their keys, by first step."""
    keys, chunks = {}, []
    for begin in range(0, len(steps[0]), chunk_length):
        chunks.append([writer.chunk(column[begin : begin + chunk_length]) for column in steps])
    for begin in range(len(steps[0]) - length + 1):
        columns = [
            wire.Column(slices([row[i] for row in chunks], begin, length, chunk_length))
            for i in range(len(steps))
        ]
        (keys[begin],) = writer.insert([wire.NewItem(table, columns, priority + begin)])
        for row in chunks[: (begin + 1) // chunk_length]:
            for chunk in row:
                writer.release(chunk)
    return keys


def slices(chunks, begin, length, chunk_length):
    """The slices of steps [begin, begin + length)."""
    found = []
    for i, chunk in enumerate(chunks):
        low = max(begin - i * chunk_length, 0)
        high = min(begin + length - i * chunk_length, chunk.length)
        if low < high:
            found.append(wire.Slice(chunk, low, high - low))
    return found


def single(writer, table, value=0, priority=1.0):
    return writer.arrays(table, [np.int32(value)], priority)


def take_all(client, table, count):
    with wire.Sampler(client, table, max_in_flight=count) as sampler:
        return sampler.take(count, timeout_s=600)


@pytest.mark.parametrize("chunk_length", [1, 3, 4])
def test_the_official_client_reads_what_we_wrote(client, oracle, chunk_length):
    steps = make_steps(12)
    with wire.Writer(client) as writer:
        keys = write_windows(writer, "free", steps, length=5, chunk_length=chunk_length)
        writer.flush()
    begins = {key: begin for begin, key in keys.items()}
    assert len(begins) == 8
    seen = set()
    for item in oracle("sample", table="free", count=100):
        begin = begins[item["key"]]
        assert item["priority"] == 1.0 + begin
        assert item["table_size"] == 8
        for text, column in zip(item["columns"], steps, strict=True):
            identical(unpack(text), column[begin : begin + 5])
        seen.add(begin)
    assert len(seen) > 4


@pytest.mark.parametrize("chunk_length", [None, 1, 3])
def test_we_read_what_the_official_client_wrote(client, oracle, chunk_length):
    steps = make_steps(12, seed=1)
    priorities = [0.5 + i for i in range(4)]
    settings = {"length": 5, "stride": 2, "chunk_length": chunk_length}
    packed = [pack(column) for column in steps]
    oracle("write_trajectories", table="free", steps=packed, priorities=priorities, **settings)
    total = sum(p**0.5 for p in priorities)
    drawn = take_all(client, "free", 60)
    for item in drawn:
        begin = 2 * priorities.index(item.priority)
        assert item.probability == pytest.approx(item.priority**0.5 / total, rel=1e-6)
        assert item.table_size == 4
        for array, column in zip(item.columns, steps, strict=True):
            identical(array, column[begin : begin + 5])
    assert len({item.key for item in drawn}) > 1
    assert max(item.times_sampled for item in drawn) > 1


def test_we_read_what_the_official_client_delta_encoded(client, oracle):
    steps = make_steps(8, seed=2)
    steps[4] = steps[4].astype(np.uint8)
    oracle("write_deltas", table="free", steps=[pack(x) for x in steps], length=8, priority=3.0)
    (item,) = take_all(client, "free", 1)
    assert item.priority == 3.0
    for array, column in zip(item.columns, steps, strict=True):
        identical(array, column)


def test_keys_and_priorities_are_the_same_for_both_clients(client, oracle):
    with wire.Writer(client) as writer:
        keys = writer.insert([single(writer, "free", i, priority=4.0) for i in range(3)])
        writer.flush()
    assert max(keys) > 2**53  # beyond what a float holds
    client.update_priorities("free", [keys[0], 12345], [9.0, 1.0])
    oracle("update", table="free", keys=[keys[1]], priorities=[0.25])
    expected = dict(zip(keys, (9.0, 0.25, 4.0)))
    ours = {item.key: item.priority for item in take_all(client, "free", 200)}
    theirs = {x["key"]: x["priority"] for x in oracle("sample", table="free", count=200)}
    assert ours == theirs == expected
    client.update_priorities("free", np.array(keys[:2], np.uint64), np.zeros(2, np.float32))
    assert {item.key for item in take_all(client, "free", 50)} == {keys[2]}


def test_messages_are_the_same_under_another_protobuf_and_beside_reverbs(oracle):
    file = Path(messages.__file__)
    version, theirs, official = oracle("built_messages", file=str(file))
    chunk = messages.Chunk(key=2**63, num_tensors=1, delta_encoded=True)
    chunk.data.tensors.add(dtype=4, content=b"abc").shape.dim.add(size=3)
    request = messages.InsertRequest(chunks=[chunk], keep=[1, 2**64 - 1])
    request.items.add(key=5, table="t", priority=0.5).trajectory.columns.add(squeeze=True)
    assert theirs == request.SerializeToString(deterministic=True).hex()
    assert official == [2**63, "abc"]
    assert version.startswith("4.")


def test_the_server_is_reached_on_this_machine_alone(server):
    socket.create_connection(("127.0.0.1", server.port), 5).close()
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.2", server.port), 0.5)


def test_items_are_deleted(client):
    with wire.Writer(client) as writer:
        keys = writer.insert([single(writer, "free", i) for i in range(4)])
        writer.flush()
    client.delete("free", [*keys[:3], 99])
    assert client.server_info()["free"].size == 1
    assert {item.key for item in take_all(client, "free", 20)} == {keys[3]}


def test_the_tables_are_told_as_the_official_client_tells_them(client, oracle):
    with wire.Writer(client) as writer:
        writer.insert([single(writer, "filled", i) for i in range(5)])
        writer.flush()
    ours = client.server_info()
    for name, table in oracle("info").items():
        for key, value in table.items():
            assert getattr(ours[name], key) == value, (name, key)
    filled = ours["filled"]
    assert (filled.size, filled.num_inserts, filled.num_samples) == (5, 5, 0)
    assert (filled.max_size, filled.min_size) == (1000, 4)


class RecordingClient(wire.Client):
    """Keeps the requests of its streams."""

    def __init__(self, address):
        super().__init__(address)
        self.requests = []

    def stream(self, method, requests):
        def record():
            for request in requests:
                self.requests.append(request)
                yield request

        return super().stream(method, record())


def test_a_chunk_is_sent_once_and_held_as_long_as_it_is_referred_to(server, client):
    steps = [np.arange(12, dtype=np.int32)]
    with RecordingClient(server.address) as recording, wire.Writer(recording) as writer:
        write_windows(writer, "free", steps, length=5, chunk_length=4)
        writer.flush()
    sent = [chunk.key for request in recording.requests for chunk in request.chunks]
    assert len(sent) == len(set(sent)) == 3
    # Items begin at 0 to 7; after those at 3 and 7 a chunk is no longer referred to.
    held = [len(request.keep) for request in recording.requests]
    assert held == [2, 2, 2, 2, 2, 2, 2, 2]
    assert sorted(item.columns[0][0] for item in take_all(client, "free", 99))[-1] == 7


def test_parameters_are_the_newest_alone(client, oracle):
    arrays = [np.float32(3.5), np.ones((2, 3), np.float32), np.zeros((0, 4), np.int32)]
    with wire.Writer(client, max_pending=1) as writer:
        for version in range(5):
            writer.insert([writer.arrays("parameters", [np.int64(version), *arrays], 1.0)])
        writer.flush()
    with wire.Sampler(client, "parameters", max_in_flight=1) as sampler:
        (item,) = sampler.take(1, timeout_s=600)
    for array, expected in zip(item.columns, [np.int64(4), *arrays], strict=True):
        identical(array, np.asarray(expected))
    (theirs,) = oracle("sample", table="parameters", count=1)
    assert unpack(theirs["columns"][0]) == 4
    assert client.server_info()["parameters"].size == 1


def test_the_oldest_item_makes_room(client):
    with wire.Writer(client) as writer:
        keys = [writer.insert([single(writer, "small", i)])[0] for i in range(7)]
        writer.flush()
    found = {item.key: int(item.columns[0]) for item in take_all(client, "small", 100)}
    assert found == dict(zip(keys[4:], (4, 5, 6)))


def test_nothing_is_sampled_before_the_least_size(client):
    with wire.Writer(client) as writer:
        writer.insert([single(writer, "filled", i) for i in range(3)])
        writer.flush()
        with wire.Sampler(client, "filled", max_in_flight=30) as sampler:
            with pytest.raises(wire.WireTimeoutError, match=r"0 of 1 after .* the rate limiter"):
                sampler.take(1, timeout_s=0.3)
            writer.insert([single(writer, "filled")])
            assert len(sampler.take(2, timeout_s=600)) == 2


def test_no_more_is_sampled_than_may_be_in_flight(client):
    with wire.Writer(client) as writer:
        writer.insert([single(writer, "free", i) for i in range(8)])
        writer.flush()
    with wire.Sampler(client, "free", max_in_flight=20) as sampler:
        for taken in range(0, 40, 8):
            deadline = time.monotonic() + 600
            while sampler.num_ready < 20 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            assert client.server_info()["free"].num_samples == 20 + taken
            sampler.take(8, timeout_s=600)


def test_sampling_a_table_that_is_not_there(client):
    missing = r"sampling from 'nope' at .*NOT_FOUND"
    with wire.Sampler(client, "nope") as sampler, pytest.raises(wire.WireError, match=missing):
        sampler.take(1, timeout_s=600)
    with wire.Writer(client) as writer:
        writer.insert([single(writer, "nope")])
        with pytest.raises(wire.WireError, match=r"inserting at .*NOT_FOUND"):
            writer.flush(timeout_s=600)


@pytest.mark.parametrize(
    ("columns", "priority", "message"),
    [
        ([], 1.0, "item of 0 columns"),
        ([(0, 0)], 1.0, "column of 0 steps"),
        ([(2, 2)], 1.0, r"slice \[2, 4\) of a chunk with 3 steps"),
        ([(-1, 2)], 1.0, r"slice \[-1, 1\) of a chunk"),
        ([(0, 1)], -1.0, "priority = -1.0"),
        ([(0, 1)], float("nan"), "priority = nan"),
    ],
)
def test_items_that_cant_be_read_are_not_written(client, columns, priority, message):
    with wire.Writer(client) as writer:
        chunk = writer.chunk(np.zeros((3, 2)))
        item = [wire.Column([wire.Slice(chunk, *part)]) for part in columns]
        with pytest.raises(ValueError, match=message):
            writer.insert([wire.NewItem("free", item, priority)])
        assert writer.num_pending == 0


def test_a_stopped_server_is_told_and_a_restarted_one_has_all_that_was_confirmed(tmp_path):
    """Checkpoint, kill -9, restart on the same port, the unconfirmed sent again; other tables."""
    first = Server(tmp_path).wait_until_ready()
    with wire.Client(first.address) as client:
        writer = wire.Writer(client, max_pending=4)
        keys = [writer.insert([single(writer, "filled", i, 1.0 + i)])[0] for i in range(6)]
        writer.flush()
        path = Path(client.checkpoint(timeout_s=600))
        assert [path] == list((tmp_path / "checkpoints").iterdir())
        sampler = wire.Sampler(client, "free")
        waiting.suspend(first.process)
        keys += [writer.insert([single(writer, "filled", i, 1.0 + i)])[0] for i in range(6, 10)]
        with pytest.raises(wire.WireTimeoutError, match="4 items unconfirmed after"):
            writer.flush(timeout_s=0.3)
        with pytest.raises(wire.WireTimeoutError, match="inserting 1 items"):
            writer.insert([single(writer, "filled")], timeout_s=0.1)
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        for action in (
            lambda: sampler.take(1, timeout_s=600),
            lambda: writer.flush(timeout_s=600),
            lambda: writer.insert([single(writer, "filled")], timeout_s=600),
            client.server_info,
        ):
            with pytest.raises(wire.WireUnavailableError, match=first.address):
                action()
        sampler.close()
        assert writer.num_pending == 4

        second = Server(tmp_path, port=first.port)
        second.ready.unlink(missing_ok=True)
        second.wait_until_ready()
        client.wait_until_ready(600)
        assert client.server_info()["filled"][1:5] == (6, 1000, 6, 0)
        writer.reconnect(client)
        writer.flush(timeout_s=600)
        found = {i.key: (int(i.columns[0]), i.priority) for i in take_all(client, "filled", 500)}
        assert found == {key: (i, 1.0 + i) for i, key in enumerate(keys)}
        assert second.end(signal.SIGTERM) == 0
        assert not second.ready.exists()
        writer.close()

    other = [*TABLES[:2], prioritized("filled", min_size=5), TABLES[3]]
    third = Server(tmp_path, tables=other)
    assert third.wait_for_end() == exit_codes.REFUSED
    expected = "table 'filled' has min_size = 4, described is 5: expected the same"
    assert expected in third.process.lines()[-1]
    fourth = Server(tmp_path, tables=TABLES[:3])
    assert fourth.wait_for_end() == exit_codes.REFUSED
    assert "tables are filled, free, parameters, small, described are" in str(
        fourth.process.lines()
    )
    assert path.exists()

"""The wire client without a server: messages byte by byte, tensors, nonsense, socket filters."""

import concurrent.futures
import fcntl
import os
import socket
import subprocess
import sys

import cramjam
import grpc
import numpy as np
import pytest

from core import checks
from replay.reverb import wire
from replay.reverb.server import confine, tables
from replay.reverb.wire import codec, messages, sampler
from training.system import exit_codes

DTYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64", "bool", "complex64", "complex128"),
)


def make_tensor(*, dtype=4, shape=(2, 3), content=b"abcdef", compress=True):
    tensor = messages.Tensor(dtype=dtype)
    for size in shape:
        tensor.shape.dim.add(size=size)
    tensor.content = bytes(cramjam.snappy.compress_raw(content)) if compress else content
    return tensor


def make_item(key=7, chunk_key=1, offset=0, length=2, index=0, squeeze=False):
    item = messages.Item(key=key, table="t", priority=2.0, times_sampled=1)
    column = item.trajectory.columns.add(squeeze=squeeze)
    column.slices.add(chunk_key=chunk_key, offset=offset, length=length, index=index)
    return item


def make_response(item=None, *, end=True, array=None, **info):
    """A response of one item that has one chunk."""
    array = np.arange(6, dtype=np.uint8).reshape(3, 2) if array is None else array
    response = messages.SampleResponse()
    entry = response.entries.add(end_of_sequence=end)
    entry.info.item.CopyFrom(item or make_item())
    entry.info.probability = info.get("probability", 0.5)
    entry.info.table_size = info.get("table_size", 2)
    entry.data.append(codec.encode_chunk(1, 1, array))
    return response


def test_a_chunk_is_the_bytes_that_the_service_reads():
    chunk = codec.encode_chunk(key=5, episode=3, array=np.array([[1], [2]], np.uint8))
    # Tag = field number * 8 + wire type (0: varint, 2: length and bytes).
    tensor = bytes.fromhex("0804" + "1208" + "12020802" + "12020801" + "2204" + "02040102")
    expected = (
        bytes.fromhex("0805" + "1204" + "0803" + "1801")  # key 5; episode 3, steps 0 to 1
        + bytes([0x2A, len(tensor) + 2, 0x0A, len(tensor)])
        + tensor
        + bytes.fromhex("3001" + "3802")  # one tensor, two bytes
    )
    assert chunk.SerializeToString(deterministic=True) == expected


def test_an_insert_request_is_the_bytes_that_the_service_reads():
    item = make_item(key=300, chunk_key=9, offset=1, squeeze=True)
    item.ClearField("times_sampled")
    request = messages.InsertRequest(items=[item], keep=[9, 300])
    part = bytes.fromhex("0809" + "1001" + "1802")
    column = bytes([0x0A, len(part)]) + part + bytes.fromhex("1001")
    trajectory = bytes([0x0A, len(column)]) + column
    body = bytes.fromhex("08ac02" + "120174" + "29" + "0000000000000040")
    body += bytes([0x42, len(trajectory)]) + trajectory
    expected = bytes([0x12, len(body)]) + body + bytes.fromhex("1a03" + "09" + "ac02")
    assert request.SerializeToString(deterministic=True) == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (4, 2, 3)])
def test_arrays_come_back_bit_by_bit(dtype, shape):
    raw = np.random.default_rng(0).integers(0, 256, int(np.prod(shape)) * 16, np.uint8)
    size = int(np.prod(shape))
    array = (raw % 2 if dtype == "bool" else raw).view(dtype)[:size].reshape(shape)
    decoded = codec.decode_tensor(codec.encode_tensor(array))
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()


def test_strided_and_big_endian_arrays_are_written_in_order():
    array = np.arange(24, dtype=">i4").reshape(4, 6)[::2, ::-1].T
    np.testing.assert_array_equal(codec.decode_tensor(codec.encode_tensor(array)), array)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array(["2020"], "M8[D]")])
def test_arrays_of_other_types_are_refused(array):
    with pytest.raises(ValueError, match=r"dtype = .*expected one of bool, .*uint8"):
        codec.encode_tensor(array)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": 7}, "dtype 7: expected one of"),  # strings
        ({"dtype": 0}, "dtype 0: expected one of"),
        ({"dtype": 20}, "dtype 20: expected one of"),  # resources
        ({"shape": (-1, 6)}, "shape .*: expected at most 32 sizes >= 0"),
        ({"shape": (1,) * 33}, "expected at most 32 sizes"),
        ({"shape": (2, 4)}, "has 6 bytes: expected 8"),
        ({"shape": (0, 4)}, "has 6 bytes: expected 0"),
        ({"shape": (2**40, 2**40)}, "expected at most 1000"),
        ({"shape": (2**62, 2**62, 0), "content": b"a"}, "has 1 bytes: expected 0"),
        ({"shape": (1001,)}, "tensor of 1001 bytes, shape .*: expected at most 1000"),
        ({"compress": False}, "content"),
        ({"compress": False, "content": b""}, "content"),
        ({"compress": False, "content": b"\x06\xff\xff\xff\xff"}, "not snappy"),
        ({"compress": False, "content": b"\xff\xff\xff\xff\x0f"}, "content"),
        ({"dtype": 10, "content": b"\0\1\2\0\1\0"}, "booleans with a byte 2"),
    ],
)
def test_malformed_and_oversized_tensors_are_refused(changes, message):
    with pytest.raises(wire.WireError, match=message) as caught:
        codec.decode_tensor(make_tensor(**changes), max_bytes=1000)
    assert "\n" not in str(caught.value)


def test_no_truncated_or_flipped_content_gives_an_array_of_another_size():
    array = np.tile(np.arange(50, dtype=np.uint8), (4, 1))
    intact = codec.encode_tensor(array)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(intact.content)
        damaged[random.integers(len(damaged))] ^= 1 << int(random.integers(8))
        tensor = messages.Tensor(dtype=4, shape=intact.shape)
        tensor.content = bytes(damaged[: random.integers(1, len(damaged) + 1)])
        try:
            assert codec.decode_tensor(tensor).shape == array.shape
        except wire.WireError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_delta_encoded_integers_are_summed_with_wraparound(dtype):
    array = np.random.default_rng(1).integers(0, 120, (5, 3)).astype(dtype)
    deltas = np.concatenate([array[:1], np.diff(array, axis=0)])
    chunk = codec.encode_chunk(1, 1, deltas)
    chunk.delta_encoded = True
    columns = codec.Decoder().columns(make_item(length=5).trajectory, {1: chunk})
    np.testing.assert_array_equal(columns[0], array)
    assert columns[0].dtype == array.dtype


@pytest.mark.parametrize("array", [np.array([1, 2, 3], np.int32), np.ones((3, 2), np.float32)])
def test_reverb_leaves_vectors_and_floats_without_deltas(array):
    chunk = codec.encode_chunk(1, 1, array)
    chunk.delta_encoded = True
    columns = codec.Decoder().columns(make_item(length=3).trajectory, {1: chunk})
    np.testing.assert_array_equal(columns[0], array)


def test_a_chunk_is_decompressed_once_for_all_items_of_a_message(monkeypatch):
    calls = []
    original = codec.decode_tensor
    monkeypatch.setattr(codec, "decode_tensor", lambda *a: calls.append(1) or original(*a))
    response = messages.SampleResponse()
    for offset in (0, 1):
        response.MergeFrom(make_response(make_item(offset=offset)))
    first, second = sampler.Assembler().feed(response)
    np.testing.assert_array_equal(first.columns[0][1], second.columns[0][0])
    assert len(calls) == 1
    with pytest.raises(ValueError, match="read-only"):
        first.columns[0][...] = 0


def test_an_item_may_come_in_several_messages():
    parts = [make_response(end=False), messages.SampleResponse()]
    parts[1].entries.add(end_of_sequence=True).data.append(
        codec.encode_chunk(2, 1, np.full((1, 2), 9, np.uint8))
    )
    column = parts[0].entries[0].info.item.trajectory.columns[0]
    column.slices.add(chunk_key=2, offset=0, length=1)
    assembler = sampler.Assembler()
    assert assembler.feed(parts[0]) == []
    (item,) = assembler.feed(parts[1])
    np.testing.assert_array_equal(item.columns[0], [[0, 1], [2, 3], [9, 9]])


def two_columns(**second):
    item = make_item()
    item.trajectory.columns[0].slices.add(**{"chunk_key": 2, "length": 1, **second})
    response = make_response(item)
    response.entries[0].data.append(codec.encode_chunk(2, 1, np.ones((1, 3), np.uint8)))
    return response


def without_columns():
    response = make_response()
    del response.entries[0].info.item.trajectory.columns[:]
    return response


def without_slices():
    response = make_response()
    response.entries[0].info.item.trajectory.columns.add()
    return response


def of_no_item():
    response = make_response()
    response.entries[0].ClearField("info")
    return response


def within_another():
    response = make_response(end=False)
    response.MergeFrom(make_response())
    return response


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (make_response(make_item(chunk_key=8)), "chunk 8, which did not come with it"),
        (make_response(make_item(offset=2)), r"slice \[2, 4\) of a chunk with 3 steps"),
        (make_response(make_item(offset=-1)), r"slice \[-1, 1\) of a chunk"),
        (make_response(make_item(length=0)), r"slice \[0, 0\) of a chunk"),
        (make_response(make_item(length=-2, offset=2)), r"slice \[2, 0\) of a chunk"),
        (make_response(make_item(index=1)), "tensor 1 of a chunk with 1"),
        (make_response(make_item(index=-1)), "tensor -1 of a chunk with 1"),
        (make_response(make_item(squeeze=True)), "squeezed column has 2 steps"),
        (make_response(probability=1.5), "probability 1.5"),
        (make_response(probability=float("nan")), "probability nan"),
        (make_response(table_size=0), "from 0 items"),
        (two_columns(), "slices differ in dtype or shape"),
        (without_columns(), "item 7 of 0 columns"),
        (without_slices(), "without slices"),
        (of_no_item(), "data of no item"),
        (within_another(), "an item within another"),
    ],
)
def test_nonsense_in_a_sample_is_refused(response, message):
    with pytest.raises(wire.WireError, match=message):
        sampler.Assembler().feed(response)


def test_many_slices_of_a_small_chunk_are_no_way_to_take_much_memory():
    item = make_item()
    for _ in range(600):
        item.trajectory.columns[0].slices.add(chunk_key=1, length=3)
    with pytest.raises(wire.WireError, match="column of 3604 bytes: expected at most 3000"):
        sampler.Assembler(max_bytes=3000).feed(make_response(item))


@pytest.fixture
def fake_server():
    """Starts a gRPC server whose sample stream answers with what it is given; gives its address."""
    servers = []

    def start(*answers):
        def stream(requests, context):
            next(requests)
            yield from answers
            next(requests, None)

        handler = grpc.stream_stream_rpc_method_handler(stream)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        generic = grpc.method_handlers_generic_handler(
            "deepmind.reverb.ReverbService", {"SampleStream": handler}
        )
        server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(0).wait(600)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b"\xff\xff\xff"], "sampling from 't'"),
        ([b"cposix\nsystem\n(S'exit 3'\ntR."], "sampling from 't'"),
        ([make_response(make_item(chunk_key=8)).SerializeToString()], "chunk 8"),
        ([make_response().SerializeToString() * 3], "more than it was asked for"),
        ([b"\0" * 70_000], "RESOURCE_EXHAUSTED"),
    ],
    ids=["garbage", "pickle", "nonsense", "unasked", "oversized"],
)
def test_what_a_server_must_not_send_ends_the_sampler(fake_server, answers, message):
    client = wire.Client(fake_server(*answers), max_message_bytes=65_536)
    with client, wire.Sampler(client, "t", max_in_flight=2) as reader:
        for _ in range(2):  # it stays so
            with pytest.raises(wire.WireError, match=message) as caught:
                reader.take(2, timeout_s=600)
        assert "\n" not in str(caught.value)


def test_what_was_read_before_an_error_can_still_be_taken(fake_server):
    good = make_response().SerializeToString()
    bad = make_response(make_item(chunk_key=8)).SerializeToString()
    client = wire.Client(fake_server(good, bad))
    with client, wire.Sampler(client, "t", max_in_flight=2) as reader:
        assert reader.take(1, timeout_s=600)[0].key == 7
        with pytest.raises(wire.WireError, match="chunk 8"):
            reader.take(1, timeout_s=600)


def test_a_calls_error_names_the_address_and_comes_in_time():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with wire.Client(address, timeout_s=2) as client:
            with pytest.raises(wire.WireUnavailableError, match=f"tables at {address}"):
                client.server_info()
            with pytest.raises(wire.WireUnavailableError, match=r"no connection within 0.3 s"):
                client.wait_until_ready(0.3)


@pytest.mark.parametrize(
    ("keys", "priorities", "message"),
    [
        ([1, 2], [1.0], "zip"),
        ([-1], [1.0], "key = -1"),
        ([2**64], [1.0], "key = 18446744073709551616: expected one from 0"),
        ([1], [-0.5], "priority = -0.5: expected a finite number >= 0"),
        ([1], [float("nan")], "priority = nan"),
        ([1], [float("inf")], "priority = inf"),
    ],
)
def test_priorities_are_checked_before_they_are_sent(keys, priorities, message):
    with wire.Client("127.0.0.1:1") as client, pytest.raises(ValueError, match=message):
        client.update_priorities("t", keys, priorities)


PRIORITIZED = (
    '{"name": "t", "kind": "prioritized", "max_size": 9, "min_size": 2, "priority_exponent": 0.5}'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "tables: expected a JSON list"),
        ("[]", r"tables = \[\]: expected a list"),
        ("[3]", r"tables\[0\] = 3: expected an object"),
        ('[{"name": "t"}]', r"tables\[0\].kind = None: expected one of prioritized, latest"),
        ('[{"name": "t", "kind": ["latest"]}]', r"tables\[0\].kind = \['latest'\]"),
        ('[{"name": "", "kind": "latest"}]', r"tables\[0\].name = '': expected a non-empty"),
        (
            '[{"name": "t", "kind": "latest", "size": 2}]',
            "size = 2: unknown key; known: kind, name",
        ),
        (f"[{PRIORITIZED.replace('9', '1')}]", "min_size = 2: expected at most max_size, 1"),
        (f"[{PRIORITIZED}, {PRIORITIZED}]", "the name 't' comes twice"),
    ],
)
def test_a_description_that_cant_be_served_is_refused(text, message):
    with pytest.raises(checks.ConfigError, match=message):
        tables.parse(text)


def test_a_description_gives_its_tables():
    found = tables.parse(f'[{PRIORITIZED}, {{"name": "parameters", "kind": "latest"}}]')
    assert found == [
        tables.Table("t", "prioritized", 9, 2, 0.5),
        tables.Table("parameters", "latest", 1, 1),
    ]


def start_server(directory, **changes):
    """Runs the server here, where reverb is not: it gets as far as its import."""
    flags = {
        "tables": '[{"name": "parameters", "kind": "latest"}]',
        "checkpoint_dir": directory / "checkpoints",
        "ready_file": directory / "port",
        **changes,
    }
    command = [sys.executable, "-m", "replay.reverb.server"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": "[]"}, "error: tables = []: expected a list of one or more objects"),
        ({"address": "198.51.100.7"}, "error: address = '198.51.100.7': expected one of this"),
        ({"port": 70000}, "error: port = 70000: expected a free one, or 0 for any"),
        ({"checkpoint_dir": "/tmp/a*b"}, "error: checkpoint_dir = '/tmp/a*b': expected none of *"),
        ({"ready_file": "/nowhere/port"}, "error: ready_file = '/nowhere/port': expected it in a"),
    ],
)
def test_a_server_that_cant_start_says_why_in_one_line(tmp_path, changes, message):
    ended = start_server(tmp_path, **changes)
    assert ended.returncode == exit_codes.REFUSED
    assert ended.stderr.startswith(message)
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "port").exists()


def test_a_server_keeps_off_other_files_other_servers_and_their_port(tmp_path):
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    (directory / "2026-11-21T11:31:39.4+00:00").mkdir()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as other:
        port = other.getsockname()[1]
        ended = start_server(tmp_path, port=port)
    assert f"port = {port}: expected a free one" in ended.stderr
    assert ended.returncode == exit_codes.FAILED  # it may be free next time
    (directory / "2026-11-21T11:31:40.4+00:00").mkdir()
    lock = os.open(directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    ended = start_server(tmp_path)
    assert "another server uses it" in ended.stderr
    assert ended.returncode == exit_codes.HELD
    assert list(directory.iterdir())  # it may be writing it
    os.close(lock)
    assert "error: No module named 'reverb': expected the interp" in start_server(tmp_path).stderr
    (directory / "notes.txt").touch()
    assert "be deleted; it has 'notes.txt'" in start_server(tmp_path).stderr
    assert (directory / "notes.txt").exists()


def test_a_server_deletes_what_one_before_it_has_not_finished(tmp_path):
    """As for a directory that can't be made, nobody has given a wrong argument."""
    whole, unfinished = (tmp_path / "checkpoints" / f"2026-11-2{i}T11:31" for i in (1, 2))
    for path in (whole, unfinished):
        path.mkdir(parents=True)
        (path / "tables.tfrecord").touch()
    (whole / "DONE").touch()
    start_server(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == [whole]
    ended = start_server(tmp_path, checkpoint_dir="/proc/x")
    assert ended.returncode == exit_codes.FAILED
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1


def can_connect(number, port):
    try:
        socket.create_connection((number, port), 0.5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ("127.0.0.1", ["127.0.0.2", "127.1.0.1"]),
        ("127.0.0.2", ["127.0.0.1"]),
        ("::1", ["127.0.0.1"]),
    ],
)
def test_a_confined_socket_is_reached_at_its_address_alone(allowed, refused):
    if not socket.has_ipv6 or not confine._is_own("::1"):
        pytest.skip("no IPv6 here")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        assert all(can_connect(number, port) for number in (allowed, *refused))
        found = confine.listening(port)
        assert len(found) == 1
        addresses = [confine.ipaddress.ip_address(allowed)]
        confine.confine(found, addresses)
        assert can_connect(allowed, port)
        assert not any(can_connect(number, port) for number in refused)
        found[0].close()


def test_an_address_is_looked_up():
    assert confine.resolve("0.0.0.0") is None
    assert confine.ipaddress.ip_address("127.0.0.1") in confine.resolve("localhost")
    assert confine.resolve("127.0.0.2") == [confine.ipaddress.ip_address("127.0.0.2")]
    for unknown in ("198.51.100.7", "nobody.invalid"):
        with pytest.raises(
            ValueError, match=f"address = '{unknown}': expected one of this machine"
        ):
            confine.resolve(unknown)

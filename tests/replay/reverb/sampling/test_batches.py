"""Batches out of samples: by hand and malformed without a server, ahead of need with one."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from dm_env import specs

from replay import base
from replay.reverb import wire
from replay.reverb.sampling import batch_reader, batches, priorities
from replay.reverb.wire import codec
from replay.reverb.writing import trajectories
from tests import waiting
from tests.replay.reverb import replay_server
from tests.replay.reverb.wire import sample_messages

FRAME = specs.BoundedArray((2, 2), np.uint8, 0, 255, name="observation")
VECTOR = specs.Array((3,), np.float32, name="observation")
TABLE = replay_server.transitions_table(1000)


def numbered_frames(count):
    return np.arange(1, count + 1, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)


def make_record(k, action=3.0):
    return np.float32([action, 1.5, 0.5, k])


def make_item(frames, record, key=7, **changes):
    """The response of an item: frames in two chunks where there are more than one."""
    parts = [part for part in (frames[:2], frames[2:]) if len(part)]
    columns = changes.pop("columns", [(parts, False), ([record[np.newaxis]], True)])
    return sample_messages.make_response(key, columns, **changes)


def make_decoder(batch_size, spec=FRAME, frame_stack=4, **changes):
    batch_spec = batches.BatchSpec(batch_size, frame_stack, spec.shape, spec.dtype.name)
    return batches.BatchDecoder(batch_spec, **changes)


def decode(*responses, **changes):
    """The batch of all items, which come in one message each."""
    decoder = make_decoder(len(responses), **changes)
    found = [batch for response in responses for batch in decoder.feed(response)]
    (batch,) = found
    return batch


def test_stacks_by_hand():
    """A full stack; an episode's second step; a first step with k = 1, both stacks with zeros."""
    batch = decode(
        make_item(numbered_frames(7), make_record(3)),
        make_item(numbered_frames(5), make_record(3), key=2**64 - 1, priority=0.0),
        make_item(
            numbered_frames(2), make_record(1, action=2.0**24), probability=1.0, table_size=11
        ),
    )
    s_tm1, actions, r_t, discount_t, s_t = batch.transition
    assert s_tm1.shape == s_t.shape == (3, 4, 2, 2)
    assert s_tm1[..., 0, 0].tolist() == [[1, 2, 3, 4], [0, 0, 1, 2], [0, 0, 0, 1]]
    assert s_t[..., 1, 1].tolist() == [[4, 5, 6, 7], [2, 3, 4, 5], [0, 0, 1, 2]]
    assert actions.tolist() == [3, 3, 2**24]
    assert (r_t.tolist(), discount_t.tolist()) == ([1.5] * 3, [0.5] * 3)
    assert (batch.keys.tolist(), batch.table_size) == ([7, 2**64 - 1, 7], 11)
    assert (batch.probabilities.tolist(), batch.weights.tolist()) == (
        [0.25, 0.25, 1],
        [1.5, 0, 1.5],
    )
    kinds = [array.dtype.name for array in (*batch.transition, *batch[1:4])]
    assert kinds == ["uint8", "int32", *["float32"] * 2, "uint8", "uint64", "float32", "float64"]


def test_vectors_are_not_stacked():
    vectors = np.arange(9, dtype=np.float32).reshape(3, 3)
    batch = decode(make_item(vectors, make_record(2)), spec=VECTOR, frame_stack=0)
    np.testing.assert_array_equal(batch.transition.s_tm1, vectors[:1])
    np.testing.assert_array_equal(batch.transition.s_t, vectors[2:])


def test_frames_may_be_any_slices_of_chunks():
    """Of the middle of a chunk, of one chunk twice, and of chunks with other frames behind."""
    frames, record = numbered_frames(9), make_record(3)
    parts = [(frames[:5], 1, 2), (frames[:5], 2, 3), (frames[5:], 0, 2)]
    records = np.stack([make_record(1), record, make_record(2)])
    batch = decode(make_item(frames, record, columns=[(parts, False), ([(records, 1, 1)], True)]))
    assert batch.transition.s_tm1[0, :, 0, 0].tolist() == [2, 3, 3, 4]
    assert batch.transition.s_t[0, :, 0, 0].tolist() == [4, 5, 6, 7]


def test_batches_do_not_share_memory_and_come_when_they_are_full():
    decoder = make_decoder(2)
    found = []
    for first in (1, 10, 20, 30, 40):
        frames = numbered_frames(7) + np.uint8(first)
        found.append(list(decoder.feed(make_item(frames, make_record(3), key=first))))
    assert [len(batches) for batches in found] == [0, 1, 0, 1, 0]
    (one,), (two,) = found[1], found[3]
    assert (one.keys.tolist(), two.keys.tolist()) == ([1, 10], [20, 30])
    assert one.transition.s_tm1[:, 0, 0, 0].tolist() == [2, 11]
    assert two.transition.s_tm1[:, 0, 0, 0].tolist() == [21, 31]


def test_stacks_go_where_they_are_told():
    memory = tuple(np.empty((1, 4, 2, 2), np.uint8) for _ in range(2))
    batch = decode(make_item(numbered_frames(7), make_record(3)), allocate=lambda: memory)
    assert batch.transition.s_tm1 is memory[0]
    assert batch.transition.s_t is memory[1]
    assert memory[1][0, :, 0, 0].tolist() == [4, 5, 6, 7]


def test_deltas_are_undone_in_place():
    frames = numbered_frames(7) * np.uint8(37)
    response = make_item(frames, make_record(3))
    chunk = response.entries[0].data[0]
    deltas = np.concatenate([frames[:1], np.diff(frames[:2], axis=0)])
    chunk.data.CopyFrom(codec.encode_chunk(chunk.key, 1, deltas).data)
    chunk.delta_encoded = True
    np.testing.assert_array_equal(decode(response).transition.s_tm1[0], frames[:4])


F, R = numbered_frames(7), make_record(3)
FRAMES, RECORD = ([F[:2], F[2:]], False), ([R[np.newaxis]], True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"columns": [FRAMES]}, "1 columns: expected frames and a record"),
        ({"columns": [FRAMES, RECORD, RECORD]}, "3 columns"),
        ({"columns": [RECORD, FRAMES]}, "other columns"),
        ({"columns": [([R[np.newaxis]], False), RECORD]}, r"frames in chunks of float32 \(1, 4\)"),
        ({"columns": [([], False), RECORD]}, "no steps of frames"),
        ({"columns": [FRAMES, ([], True)]}, "no steps of a record"),
        ({"columns": [FRAMES, ([R[np.newaxis]], False)]}, "other columns: expected frames"),
        ({"columns": [FRAMES, ([R[np.newaxis]] * 2, True)]}, "more than 1 steps of a record"),
        ({"columns": [(FRAMES[0], True), RECORD]}, "other columns"),
        ({"record": np.float64([3, 1, 1, 3])}, r"a record in chunks of float64 \(1, 4\)"),
        ({"record": np.float32([3, 1, 3])}, r"float32 \(1, 3\): expected float32 \[T, 4\]"),
        ({"frames": F.astype(np.int8)}, "frames in chunks of int8"),
        ({"frames": np.zeros((7, 2, 3), np.uint8)}, r"\(2, 2, 3\): expected uint8 \[T, 2, 2\]"),
        ({"frames": numbered_frames(3)}, "3 frames for 3 steps: expected 4 to 7"),
        ({"frames": numbered_frames(8)}, "8 frames for 3 steps: expected 4 to 7"),
        ({"record": make_record(1e30)}, "7 frames for 10000"),
        ({"record": make_record(0)}, "1 step or more"),
        ({"record": make_record(2.5)}, "1 step or more"),
        ({"record": make_record(np.nan)}, "1 step or more"),
        ({"record": make_record(3, action=-1)}, "an action"),
        ({"record": make_record(3, action=0.5)}, "an action"),
        ({"record": make_record(3, action=1e9)}, "an action"),
        ({"record": np.float32([0, np.inf, 0, 3])}, "two finite numbers"),
        ({"probability": 0.0}, "probability 0.0: expected 1.17.*e-38 or more"),
        ({"probability": 1e-60}, "probability 1e-60: expected"),
        ({"priority": float("nan")}, "priority nan"),
        ({"priority": -1.0}, "priority -1.0"),
    ],
)
def test_what_is_no_transition_is_refused(bad, message):
    good = make_item(F, R)
    with pytest.raises(wire.WireError, match=message) as caught:
        decode(good, make_item(**{"frames": F, "record": R, "key": 99, **bad}), good)
    assert str(caught.value).startswith("item 99 has ")
    assert "\n" not in str(caught.value)


def test_a_batch_takes_no_more_memory_than_told():
    decoder = make_decoder(3, max_bytes=100)
    list(decoder.feed(make_item(F, R)))
    with pytest.raises(wire.WireError, match=r"frames in chunks of .* together: .* most 100"):
        list(decoder.feed(make_item(numbered_frames(30), R)))


def test_a_batch_takes_no_more_memory_for_many_chunks_either():
    decoder = make_decoder(9, max_bytes=100)
    for _ in range(3):
        list(decoder.feed(make_item(F, R)))
    with pytest.raises(wire.WireError, match=r"frames in chunks of 116 bytes .* most 100"):
        list(decoder.feed(make_item(F, R)))


def test_many_slices_of_a_chunk_are_no_way_to_take_much_memory():
    response = make_item(F, R, columns=[([np.zeros((500, 2, 2), np.uint8)], False), RECORD])
    slices = response.entries[0].info.item.trajectory.columns[0].slices
    for _ in range(1000):
        slices.append(slices[0])
    with pytest.raises(wire.WireError, match="more than 65536 steps of frames"):
        list(make_decoder(1).feed(response))


# With a server.


@pytest.fixture
def client(server):
    with wire.Client(server.address) as connected:
        connected.reset(TABLE)
        yield connected


def write(client, num_steps, table=TABLE):
    """One episode, whose frames are numbered from 1."""
    frames = numbered_frames(num_steps)
    with wire.Writer(client, max_pending=100) as writer:
        builder = trajectories.TrajectoryBuilder(writer, table, 1, 4, 3, 1.0, 4)
        one = np.ones(1, np.float32)
        for t, frame in enumerate(frames):
            ends = (np.array([t == 0]), np.array([t == num_steps - 1]))
            writer.insert(builder.add(base.Step(frame[None], *ends, one, one, np.int32([t])), 1.0))
        writer.flush()


def wait_for_samples(client, count):
    """Waits until so many were drawn, then a little for more; how many were."""
    deadline = time.monotonic() + 600
    while client.server_info()[TABLE].num_samples < count and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    return client.server_info()[TABLE].num_samples


@replay_server.needs_server
@pytest.mark.parametrize(("prefetch", "num_processes"), [(1, 0), (2, 0), (2, 1), (3, 2)])
def test_no_more_is_drawn_ahead_than_told(client, prefetch, num_processes):
    write(client, 30)
    with batch_reader.BatchReader(client, TABLE, FRAME, 4, 8, prefetch, num_processes) as reader:
        assert reader.max_in_flight == 8 * prefetch
        for taken in range(6):
            assert wait_for_samples(client, 8 * (prefetch + taken)) == 8 * (prefetch + taken)
            batch = reader.take(timeout_s=600)
            actions = batch.transition.a_tm1
            np.testing.assert_array_equal(batch.transition.s_tm1[:, 3, 0, 0], actions + 1)
            ends = np.minimum(actions + 4, 30)
            np.testing.assert_array_equal(batch.transition.s_t[:, 3, 0, 0], ends)
            np.testing.assert_array_equal(batch.transition.r_t, ends - actions - 1)
            assert (batch.table_size, batch.probabilities[0]) == (29, np.float32(1 / 29))


@replay_server.needs_server
def test_an_empty_table_gives_no_batch_until_it_is_filled(client):
    with batch_reader.BatchReader(client, TABLE, FRAME, 4, 8) as reader:
        late = rf"reading batches from '{TABLE}' at .*: none after 0.1 s: the table has too few"
        with pytest.raises(wire.WireTimeoutError, match=late):
            reader.take(timeout_s=0.1)
        write(client, 9)
        assert 1 <= reader.take(timeout_s=600).table_size <= 8


@replay_server.needs_server
@pytest.mark.parametrize("num_processes", [0, 2])
def test_an_item_of_another_kind_ends_the_reader(client, num_processes):
    with wire.Writer(client) as writer:
        writer.insert([writer.arrays(TABLE, [np.float32(1)], 1.0)])
        writer.flush()
    with batch_reader.BatchReader(client, TABLE, FRAME, 4, 8, 2, num_processes) as reader:
        for _ in range(2):
            with pytest.raises(wire.WireError, match="1 columns: expected frames and a record"):
                reader.take(timeout_s=600)


@replay_server.needs_server
@pytest.mark.parametrize("num_processes", [0, 2])
def test_a_killed_server_is_told_of_and_nothing_hangs(tmp_path, num_processes):
    """By the reader, once its batches are taken, and by the sender of priorities; both close."""
    server = replay_server.Server(tmp_path, replay_server.TRANSITIONS).wait_until_ready()
    with wire.Client(server.address) as client:
        write(client, 30)
        reader = batch_reader.BatchReader(client, TABLE, FRAME, 4, 8, 2, num_processes)
        weights = priorities.SamplingWeights(0.5, 0.0)
        sender = priorities.PrioritySender(client, TABLE, weights)
        batch = reader.take(timeout_s=600)
        sender.put(batch, np.ones(8))
        sender.drain(timeout_s=600)
        server.end(signal.SIGKILL)
        begin = time.monotonic()
        with pytest.raises(wire.WireUnavailableError, match=server.address):
            all(reader.take(timeout_s=600) for _ in range(4))
        sender.put(batch, np.ones(8))
        with pytest.raises(wire.WireUnavailableError, match="setting priorities"):
            sender.drain(timeout_s=600)
        with pytest.raises(wire.WireUnavailableError, match="setting priorities"):
            sender.put(batch, np.ones(8))
        sender.close()
        reader.close()
        assert time.monotonic() - begin < 300


@replay_server.needs_server
def test_batches_of_processes_share_no_memory(client):
    """Though the processes use theirs again: no batch changes when others come."""
    write(client, 30)
    with batch_reader.BatchReader(client, TABLE, FRAME, 4, 7, 3, 2) as reader:
        taken = [reader.take(timeout_s=600) for _ in range(8)]
        before = [batch.transition.s_t.copy() for batch in taken]
        for _ in range(8):
            reader.take(timeout_s=600)
    for batch, s_t in zip(taken, before):
        assert batch.keys.shape == (7,)
        np.testing.assert_array_equal(batch.transition.s_t, s_t)
        np.testing.assert_array_equal(s_t[:, 3, 0, 0], np.minimum(batch.transition.a_tm1 + 4, 30))


@replay_server.needs_server
def test_a_killed_decoder_is_told_of(client):
    write(client, 30)
    with batch_reader.BatchReader(client, TABLE, FRAME, 4, 8, 2, 2) as reader:
        reader.take(timeout_s=600)
        reader._sources[1]._process.kill()
        # Though the other one goes on: at most what had come from the killed one, and its turn.
        with pytest.raises(wire.WireUnavailableError, match="the process ended with -9"):
            all(reader.take(timeout_s=600) for _ in range(4))


def test_a_decoder_that_can_not_run_is_no_connection_that_broke(monkeypatch):
    """It would be made again and again."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        wire.Client("127.0.0.1:1") as client,
        batch_reader.BatchReader(client, TABLE, FRAME, 4, 8, 2, 1) as reader,
        pytest.raises(wire.WireError, match="the process ended with 1") as caught,
    ):
        reader.take(timeout_s=600)
    assert not isinstance(caught.value, wire.WireUnavailableError)


def test_more_processes_than_batches_are_refused():
    client = wire.Client("127.0.0.1:1")
    with client, pytest.raises(ValueError, match="num_processes = 3: expected 0 to 2"):
        batch_reader.BatchReader(client, TABLE, FRAME, 4, 8, 2, 3)


@replay_server.needs_server
def test_decoders_end_with_their_parent(client):
    """Also if it is killed before it has read all that they have told."""
    script = """
import os, signal, sys
import numpy as np
from dm_env import specs
from replay.reverb import wire
from replay.reverb.sampling import batch_reader
client = wire.Client(sys.argv[1])
spec = specs.Array((2, 2), np.uint8)
reader = batch_reader.BatchReader(client, sys.argv[2], spec, 4, 8, 2, 2)
reader.take()
print(*[source._process.pid for source in reader._sources], flush=True)
while True:
    reader.take()
"""
    write(client, 30)
    command = [sys.executable, "-c", script, client.address, TABLE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        waiting.suspend(parent)
        parent.kill()
    waiting.wait_for(lambda: not any(map(waiting.is_alive, pids)), 600)

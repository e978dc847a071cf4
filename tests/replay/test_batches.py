"""Batches out of samples: by hand and malformed without a server, ahead of need with one."""

import signal
import time

import numpy as np
import pytest
import replay_server
from dm_env import specs

from replay import base, wire
from replay.reverb import batches, priorities, trajectories
from replay.wire import codec

FRAME = specs.BoundedArray((2, 2), np.uint8, 0, 255, name="observation")
VECTOR = specs.Array((3,), np.float32, name="observation")
TABLE = replay_server.transitions_table(1000)


def make_sample(frames, record, key=7, **changes):
    """Frames in two parts where there are more than one."""
    arrays = tuple(part for part in (frames[:2], frames[2:]) if len(part))
    columns = (codec.Parts(arrays, False), codec.Parts((record[np.newaxis],), True))
    fields = {"probability": 0.25, "table_size": 9, "priority": 1.5, "times_sampled": 1}
    return wire.Sampled(**{"key": key, "parts": columns, **fields, **changes})


def numbered_frames(count):
    return np.arange(1, count + 1, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)


def make_record(k, action=3.0):
    return np.float32([action, 1.5, 0.5, k])


def test_stacks_by_hand():
    """A full stack; an episode's second step; a first step with k = 1, both stacks with zeros."""
    items = [
        make_sample(numbered_frames(7), make_record(3)),
        make_sample(numbered_frames(5), make_record(3), key=2**64 - 1, priority=0.0),
        make_sample(numbered_frames(2), make_record(1, action=2.0**24), probability=1.0),
    ]
    batch = batches.assemble([*items[:2], items[2]._replace(table_size=11)], 4, FRAME)
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
    batch = batches.assemble([make_sample(vectors, make_record(2))], 0, VECTOR)
    np.testing.assert_array_equal(batch.transition.s_tm1, vectors[:1])
    np.testing.assert_array_equal(batch.transition.s_t, vectors[2:])


GOOD = make_sample(numbered_frames(7), make_record(3))
FRAMES, RECORD = GOOD.parts


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD._replace(parts=(FRAMES,)), "has 1 columns: expected frames and a record"),
        (GOOD._replace(parts=(FRAMES, RECORD, RECORD)), "has 3 columns"),
        (GOOD._replace(parts=(RECORD, FRAMES)), r"record uint8 \(7, 2, 2\): expected float32"),
        (GOOD._replace(parts=(FRAMES, RECORD._replace(squeeze=False))), r"float32 \(1, 4\)"),
        (make_sample(numbered_frames(7), np.float64([3, 1, 1, 3])), r"record float64 \(4,\)"),
        (make_sample(numbered_frames(7), np.float32([3, 1, 3])), r"record float32 \(3,\)"),
        (make_sample(numbered_frames(7).astype(np.int8), RECORD.arrays[0][0]), "frames int8"),
        (make_sample(np.zeros((7, 2, 3), np.uint8), RECORD.arrays[0][0]), r"\(7, 2, 3\): expected"),
        (
            make_sample(numbered_frames(1), RECORD.arrays[0][0])._replace(
                parts=(codec.Parts((numbered_frames(1),), True), RECORD)
            ),
            r"frames uint8 \(2, 2\)",
        ),
        (make_sample(numbered_frames(3), make_record(3)), "3 frames for 3 steps: expected 4 to 7"),
        (make_sample(numbered_frames(8), make_record(3)), "8 frames for 3 steps: expected 4 to 7"),
        (make_sample(numbered_frames(7), make_record(1e30)), "7 frames for 1e"),
        (make_sample(numbered_frames(7), make_record(0)), "1 step or more"),
        (make_sample(numbered_frames(7), make_record(2.5)), "1 step or more"),
        (make_sample(numbered_frames(7), make_record(np.nan)), "1 step or more"),
        (make_sample(numbered_frames(7), make_record(3, action=-1)), "an action"),
        (make_sample(numbered_frames(7), make_record(3, action=0.5)), "an action"),
        (make_sample(numbered_frames(7), make_record(3, action=1e9)), "an action"),
        (make_sample(numbered_frames(7), np.float32([0, np.inf, 0, 3])), "two finite numbers"),
        (GOOD._replace(probability=0.0), "has probability 0.0: expected more than 0"),
        (GOOD._replace(priority=float("nan")), "has priority nan"),
        (GOOD._replace(priority=-1.0), "has priority -1.0"),
    ],
)
def test_what_is_no_transition_is_refused(bad, message):
    with pytest.raises(wire.WireError, match=message) as caught:
        batches.assemble([GOOD, bad._replace(key=99)], 4, FRAME)
    assert str(caught.value).startswith("item 99 has ")
    assert "\n" not in str(caught.value)


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
    deadline = time.monotonic() + 20
    while client.server_info()[TABLE].num_samples < count and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    return client.server_info()[TABLE].num_samples


@replay_server.needs_server
@pytest.mark.parametrize(("prefetch", "num_streams"), [(1, 1), (2, 1), (3, 2)])
def test_no_more_is_drawn_ahead_than_told(client, prefetch, num_streams):
    write(client, 30)
    with batches.BatchReader(client, TABLE, FRAME, 4, 8, prefetch, num_streams) as reader:
        assert reader.max_in_flight == 8 * prefetch
        for taken in range(6):
            assert wait_for_samples(client, 8 * (prefetch + taken)) == 8 * (prefetch + taken)
            batch = reader.take(timeout_s=20)
            actions = batch.transition.a_tm1
            np.testing.assert_array_equal(batch.transition.s_tm1[:, 3, 0, 0], actions + 1)
            ends = np.minimum(actions + 4, 30)
            np.testing.assert_array_equal(batch.transition.s_t[:, 3, 0, 0], ends)
            np.testing.assert_array_equal(batch.transition.r_t, ends - actions - 1)
            assert (batch.table_size, batch.probabilities[0]) == (29, np.float32(1 / 29))


@replay_server.needs_server
def test_an_empty_table_gives_no_batch_until_it_is_filled(client):
    with batches.BatchReader(client, TABLE, FRAME, 4, 8) as reader:
        late = rf"reading batches from '{TABLE}' at .*: none after 0.1 s: the table has too few"
        with pytest.raises(wire.WireTimeoutError, match=late):
            reader.take(timeout_s=0.1)
        write(client, 9)
        assert 1 <= reader.take(timeout_s=20).table_size <= 8


@replay_server.needs_server
def test_an_item_of_another_kind_ends_the_reader(client):
    with wire.Writer(client) as writer:
        writer.insert([writer.arrays(TABLE, [np.float32(1)], 1.0)])
        writer.flush()
    with batches.BatchReader(client, TABLE, FRAME, 4, 8) as reader:
        for _ in range(2):
            with pytest.raises(wire.WireError, match="1 columns: expected frames and a record"):
                reader.take(timeout_s=20)


@replay_server.needs_server
def test_a_killed_server_is_told_of_and_nothing_hangs(tmp_path):
    """By the reader, once its batches are taken, and by the sender of priorities; both close."""
    server = replay_server.Server(tmp_path, replay_server.TRANSITIONS).wait_until_ready()
    with wire.Client(server.address) as client:
        write(client, 30)
        reader = batches.BatchReader(client, TABLE, FRAME, 4, 8)
        weights = priorities.SamplingWeights(0.5, 0.0)
        sender = priorities.PrioritySender(client, TABLE, weights)
        batch = reader.take(timeout_s=20)
        sender.put(batch, np.ones(8))
        sender.drain(timeout_s=20)
        server.end(signal.SIGKILL)
        begin = time.monotonic()
        with pytest.raises(wire.WireUnavailableError, match=server.address):
            all(reader.take(timeout_s=20) for _ in range(4))
        sender.put(batch, np.ones(8))
        with pytest.raises(wire.WireUnavailableError, match="setting priorities"):
            sender.drain(timeout_s=20)
        with pytest.raises(wire.WireUnavailableError, match="setting priorities"):
            sender.put(batch, np.ones(8))
        sender.close()
        reader.close()
        assert time.monotonic() - begin < 10

"""Chunks and items cut from steps, against the ring; without a server."""

import jax
import numpy as np
import pytest
from dm_env import specs

from replay import base
from replay.device import frame_ring, prioritized
from replay.reverb.sampling import batches
from replay.reverb.writing import trajectories
from tests.replay.reverb.wire import sample_messages

FRAME = specs.BoundedArray((2, 2), np.uint8, 0, 255, name="observation")
DISCOUNT = 0.9
ROWS = 90


class FakeChunk:
    def __init__(self, array):
        self.array, self.length = array.copy(), len(array)
        self.released_at = None
        self.used_at = []


class FakeWriter:
    """Keeps the chunks. Its `time` is the number of calls that the test has made."""

    def __init__(self):
        self.time = 0
        self.chunks = []

    def chunk(self, array):
        self.chunks.append(FakeChunk(array))
        return self.chunks[-1]

    def release(self, chunk):
        assert chunk.released_at is None
        chunk.released_at = self.time

    @property
    def frame_chunks(self):
        return [chunk for chunk in self.chunks if chunk.array.dtype == np.uint8]


def read(writer, item):
    """The item as a reader gets it; it must not use what was released in an earlier call."""
    columns = []
    for column in item.columns:
        for chunk, _, length in column.slices:
            assert chunk.released_at in (None, writer.time)
            assert length > 0
            chunk.used_at.append(writer.time)
        parts = [(chunk.array, begin, length) for chunk, begin, length in column.slices]
        columns.append((parts, column.squeeze))
    return sample_messages.make_response(1, columns, table_size=1, priority=item.priority)


class Play:
    """The same random steps for a builder and for a ring that forgets nothing."""

    def __init__(self, num_envs=3, frame_stack=4, n_step=3, chunk_length=4, seed=0):
        self.num_envs, self.frame_stack, self.n_step = num_envs, frame_stack, n_step
        self.random = np.random.RandomState(seed)
        self.writer = FakeWriter()
        self.builder = trajectories.TrajectoryBuilder(
            self.writer, "t", num_envs, frame_stack, n_step, DISCOUNT, chunk_length
        )
        spec = base.TransitionSpec(FRAME, num_envs, frame_stack, n_step, DISCOUNT)
        ring = frame_ring.FrameRing(spec, num_rows=2 * ROWS)
        self.ring = prioritized.PrioritizedReplay(ring, priority_exponent=1.0, uniform_mix=0.0)
        self.ring_add = jax.jit(self.ring.add)
        self.state = self.ring.init()
        self.rows = 0
        self.was_last = np.ones(num_envs, bool)
        self.found = {}
        self.decoder = batches.BatchDecoder(
            batches.BatchSpec(1, frame_stack, FRAME.shape, FRAME.dtype.name)
        )

    def observation(self, env_id):
        return np.array([[env_id + 1, self.rows + 1], [7, 0]], np.uint8)

    def step(self, is_last=None, is_first=None):
        """A random one, or with these ends and beginnings."""
        if is_last is None:
            is_last = (self.random.uniform(size=self.num_envs) < 0.12) & ~self.was_last
        is_first = self.was_last if is_first is None else is_first
        discount = self.random.uniform(size=self.num_envs) < np.where(is_last, 0.5, 0.9)
        return base.Step(
            observation=np.stack([self.observation(env_id) for env_id in range(self.num_envs)]),
            is_first=is_first,
            is_last=is_last,
            # What comes with a first step must never be used.
            reward=np.where(is_first, 99, self.random.normal(size=is_first.shape)).astype("f4"),
            discount=np.where(is_first, 0.7, discount).astype("f4"),
            action=self.random.randint(0, 18, self.num_envs).astype(np.int32),
        )

    def add(self, step):
        self.writer.time += 1
        self.keep(self.builder.add(step, 1.0 + self.rows), 1.0 + self.rows)
        self.add_to_ring(step)

    def add_to_ring(self, step):
        self.state = self.ring_add(self.state, step)
        self.was_last = step.is_last
        self.rows += 1

    def cut(self):
        self.writer.time += 1
        self.keep(self.builder.cut(0.5), 0.5)
        self.state = self.ring.cut(self.state)
        self.was_last = np.ones(self.num_envs, bool)

    def clear(self):
        self.builder.clear()
        self.state = self.ring.clear(self.state)
        self.found.clear()

    def keep(self, items, priority):
        """Reads the items into {(environment, row): Batch of one}."""
        for item in items:
            assert (item.table, item.priority) == ("t", priority)
            (batch,) = self.decoder.feed(read(self.writer, item))
            newest = (
                batch.transition.s_tm1[0, -1] if self.frame_stack else batch.transition.s_tm1[0]
            )
            newest = newest.reshape(2, 2)
            who = (int(newest[0, 0]) - 1, int(newest[0, 1]) - 1)
            assert who not in self.found
            self.found[who] = batch

    def compare(self):
        """All that the ring has after a cut, and nothing else, each as the ring has it."""
        self.cut()
        for row in range(self.n_step):  # the tails' n steps, in which the ring admits them
            ends = np.zeros(self.num_envs, bool)
            self.add_to_ring(self.step(is_last=ends, is_first=np.full(self.num_envs, row == 0)))
        leaves = np.flatnonzero(np.asarray(self.state.tree.present).ravel())
        rows, env_ids = np.divmod(leaves, self.num_envs)
        assert {(env_id, row) for env_id, row in zip(env_ids.tolist(), rows.tolist())} == set(
            self.found
        )
        expected = jax.jit(self.ring.ring.transitions)(self.state.ring, rows, env_ids)
        for i, who in enumerate(zip(env_ids.tolist(), rows.tolist())):
            for name, array in self.found[who].transition._asdict().items():
                wanted = np.asarray(getattr(expected, name))
                assert array.dtype == wanted.dtype
                if name in ("r_t", "discount_t"):  # XLA may fuse a product and a sum
                    np.testing.assert_allclose(array[0], wanted[i], rtol=1e-6, atol=1e-7)
                else:
                    np.testing.assert_array_equal(array[0], wanted[i])


@pytest.mark.parametrize("chunk_length", [1, 3, 4, 8])
@pytest.mark.parametrize(
    ("num_envs", "frame_stack", "n_step"), [(3, 4, 3), (2, 0, 1), (1, 2, 5), (2, 1, 2)]
)
def test_random_runs_agree_with_the_ring(num_envs, frame_stack, n_step, chunk_length):
    """Random episodes and life losses, with cuts and with clears in the midst of episodes."""
    play = Play(num_envs, frame_stack, n_step, chunk_length, seed=chunk_length)
    for t in range(ROWS):
        play.add(play.step())
        if t % 29 == 28:
            play.cut()
        if t in (20, 45):
            play.clear()
    assert len(play.found) > 0
    play.compare()


@pytest.mark.parametrize("chunk_length", [1, 3, 4, 8])
def test_frames_are_stored_once_and_released_with_their_last_use(chunk_length):
    play = Play(chunk_length=chunk_length)
    for t in range(ROWS):
        # No episode of a single step: nothing would use its frame.
        is_before_cut = t in (39, 40, ROWS - 2, ROWS - 1)
        play.add(play.step(is_last=np.zeros(play.num_envs, bool) if is_before_cut else None))
        held = [chunk for chunk in play.writer.frame_chunks if chunk.released_at is None]
        # The stack before the next transition, and what waits for its n steps.
        assert len(held) <= play.num_envs * ((4 + 3 - 1) // chunk_length + 2)
        if t == 40:
            play.cut()
    play.cut()
    frames = np.concatenate([chunk.array for chunk in play.writer.frame_chunks])
    assert len(frames) == ROWS * play.num_envs
    assert len({frame.tobytes() for frame in frames}) == len(frames)
    assert max(chunk.length for chunk in play.writer.frame_chunks) == chunk_length
    for chunk in play.writer.chunks:
        assert chunk.released_at == max(chunk.used_at)


def test_chunks_are_full_but_for_the_last_of_an_episode():
    play = Play(num_envs=1)
    ends = np.zeros((11, 1), bool)
    ends[9] = True
    for end in ends:
        play.add(play.step(is_last=end))
    assert [chunk.length for chunk in play.writer.frame_chunks] == [4, 4, 2]


def test_records_of_items_that_come_out_together_share_a_chunk():
    play = Play(num_envs=2)
    for _ in range(4):
        play.add(play.step(is_last=np.zeros(2, bool)))
    (records,) = [chunk for chunk in play.writer.chunks if chunk.array.dtype == np.float32]
    assert records.array.shape == (2, 4)
    assert records.released_at == 4


def test_after_a_clear_stacks_go_on_and_nothing_of_before_comes_out():
    """The frames of before are part of the first stacks; an episode may also be left as it is."""
    play = Play(num_envs=1, frame_stack=4, n_step=2, chunk_length=3)
    middle = np.zeros(1, bool)
    for _ in range(5):
        play.add(play.step(is_last=middle))
    play.clear()
    for _ in range(6):
        play.add(play.step(is_last=middle))
    assert min(play.found) == (0, 5)
    s_tm1 = play.found[0, 5].transition.s_tm1[0]
    assert s_tm1[:, 0, 1].tolist() == [3, 4, 5, 6]
    play.builder.clear()
    before = len(play.writer.frame_chunks)
    play.builder.add(play.step(is_last=middle, is_first=~middle), 1.0)
    assert all(chunk.released_at for chunk in play.writer.frame_chunks[:before])


def test_a_last_step_after_a_clear_or_a_first_one_leaves_nothing():
    play = Play(num_envs=2)
    first, last = np.ones(2, bool), np.ones(2, bool)
    play.add(play.step(is_first=first, is_last=last))
    play.add(play.step(is_first=first, is_last=~last))
    play.clear()
    play.add(play.step(is_last=last))
    assert not play.found
    assert not play.writer.chunks


def test_a_task_that_is_left_on_a_first_step_leaves_an_episode_without_steps():
    """Every environment's step is LAST then, also where it would have been FIRST."""
    play = Play(num_envs=2)
    middle = np.zeros(2, bool)
    for _ in range(6):
        play.add(play.step(is_last=middle))
    play.add(play.step(is_last=np.array([True, False])))
    play.add(play.step(is_first=middle, is_last=~middle))
    for _ in range(6):
        play.add(play.step(is_last=middle))
    play.compare()
    assert {(0, 5), (0, 8), (1, 6)} <= play.found.keys()
    assert not {(0, 6), (0, 7), (1, 7)} & play.found.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_first": np.array([False, True])}, "environment 1: FIRST within an episode"),
        ({"observation": np.zeros((2, 2, 3), np.uint8)}, r"observation uint8 \(2, 2, 3\)"),
        ({"observation": np.zeros((2, 2, 2), np.float32)}, r"observation float32 \(2, 2, 2\)"),
        ({"reward": np.float32(1)}, r"reward \(\): expected 2 environments"),
        ({"action": np.zeros(3, np.int32)}, r"action \(3,\): expected 2 environments"),
    ],
)
def test_steps_that_do_not_fit_are_refused_and_change_nothing(change, message):
    play = Play(num_envs=2)
    for _ in range(6):
        play.add(play.step(is_last=np.zeros(2, bool)))
    with pytest.raises(ValueError, match=message):
        play.builder.add(play.step()._replace(**change), 1.0)
    for _ in range(6):
        play.add(play.step())
    play.compare()


def test_an_episode_begins_with_a_first_step():
    play = Play(num_envs=2)
    with pytest.raises(ValueError, match="environment 0: no FIRST after a LAST"):
        play.builder.add(play.step(is_first=np.zeros(2, bool)), 1.0)

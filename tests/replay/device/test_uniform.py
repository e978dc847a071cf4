"""Uniform replay: it holds what the prioritized one does, and draws all of it alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from replay import base
from replay.device import frame_ring, prioritized, uniform

VECTOR = specs.Array((2,), np.float32)
FRAME = specs.BoundedArray((2, 2), np.uint8, 0, 255)


def make_ring(num_envs=2, num_rows=12, frame_stack=0, n_step=3, num_seeds=1):
    observation = FRAME if frame_stack else VECTOR
    spec = base.TransitionSpec(observation, num_envs, frame_stack, n_step, 0.9)
    return frame_ring.FrameRing(spec, num_rows, num_seeds)


class Steps:
    """Random steps of N environments, with ends of episodes."""

    def __init__(self, ring, seed=0):
        self.random = np.random.RandomState(seed)
        self.num_envs, self.spec = ring.spec.num_envs, ring.spec.observation
        self.was_last = np.ones(self.num_envs, bool)

    def next(self):
        is_first = self.was_last
        self.was_last = (self.random.uniform(size=self.num_envs) < 0.2) & ~is_first
        shape = (self.num_envs, *self.spec.shape)
        return base.Step(
            observation=self.random.uniform(0, 256, shape).astype(self.spec.dtype),
            is_first=is_first,
            is_last=self.was_last,
            reward=self.random.normal(size=self.num_envs).astype(np.float32),
            discount=self.random.randint(2, size=self.num_envs).astype(np.float32),
            action=self.random.randint(5, size=self.num_envs).astype(np.int32),
        )


def keys_of(state):
    """Those that can be drawn, in order."""
    places = np.arange(int(state.begin), int(state.end)) % state.keys.size
    return np.asarray(state.keys)[places].tolist()


def present_keys(ring, state):
    """Of the transitions that the prioritized replay can draw, in order."""
    num_rows, num_envs = ring.num_rows, ring.spec.num_envs
    present = np.asarray(state.tree.present).ravel()[: num_rows * num_envs]
    positions, envs = np.divmod(np.flatnonzero(present), num_envs)
    newest = int(state.ring.rows) - 1
    rows = newest - (newest - positions) % num_rows
    return sorted((rows * num_envs + envs).tolist())


@pytest.mark.parametrize(
    ("num_envs", "frame_stack", "n_step"), [(2, 0, 3), (3, 4, 1), (1, 2, 5), (4, 1, 2)]
)
def test_it_holds_what_the_prioritized_replay_holds(num_envs, frame_stack, n_step):
    """After every one of many random steps: ends of episodes, wrap-around, cuts and clears."""
    ring = make_ring(num_envs, 14, frame_stack, n_step)
    even, ranked = uniform.UniformReplay(ring), prioritized.PrioritizedReplay(ring, 0.5, 0.0)
    add = [jax.jit(replay.add) for replay in (even, ranked)]
    states, steps = [even.init(), ranked.init()], Steps(ring)
    sizes = set()
    for t in range(160):
        step = steps.next()
        states = [f(state, step) for f, state in zip(add, states)]
        if t % 23 == 22:
            states = [even.cut(states[0]), ranked.cut(states[1])]
            steps.was_last[:] = True
        if t in (50, 51, 90):
            states = [even.clear(states[0]), ranked.clear(states[1])]
            assert int(even.size(states[0])) == 0
        keys = keys_of(states[0])
        assert keys == present_keys(ring, states[1])
        assert int(even.size(states[0])) == len(keys) == int(ranked.size(states[1]))
        assert int(even.num_added(states[0])) == (t + 1) * num_envs
        sizes.add(len(keys))
    jax.tree.map(np.testing.assert_array_equal, states[0].ring, states[1].ring)
    assert len(sizes) > 5


def filled(replay, num_steps=40):
    """A state after random steps; the ring has wrapped around."""
    state, add, steps = replay.init(), jax.jit(replay.add), Steps(replay.ring)
    for _ in range(num_steps):
        state = add(state, steps.next())
    return state


def test_every_transition_is_drawn_and_no_other():
    """30 000 draws: counts within five standard errors of one another's mean; by their keys."""
    replay = uniform.UniformReplay(make_ring())
    state = filled(replay)
    expected = keys_of(state)
    assert len(expected) > 8
    sample = jax.jit(replay.sample, static_argnums=2)
    drawn = [sample(state, jax.random.key(seed), 1000) for seed in range(30)]
    keys = np.concatenate([x.keys for x in drawn])
    found, counts = np.unique(keys, return_counts=True)
    assert found.tolist() == expected
    p = 1 / len(expected)
    error = 5 * np.sqrt(len(keys) * p * (1 - p))
    assert (np.abs(counts - len(keys) * p) < error).all()
    for x in drawn:
        np.testing.assert_allclose(x.probabilities, p, rtol=1e-6)
        assert int(x.size) == len(expected)
    assert drawn[0].keys.dtype == np.int32


def test_what_is_drawn_is_the_transition_of_its_key():
    """As the ring puts it together, and as the prioritized replay gives it."""
    ring = make_ring(frame_stack=2)
    replay, ranked = uniform.UniformReplay(ring), prioritized.PrioritizedReplay(ring, 0.5, 0.0)
    sample = replay.sample(filled(replay), jax.random.key(0), 64)
    other = ranked.sample(filled(ranked), jax.random.key(1), 512)
    by_key = {int(key): i for i, key in enumerate(other.keys)}
    assert set(sample.keys.tolist()) <= by_key.keys()
    places = np.array([by_key[int(key)] for key in sample.keys])
    jax.tree.map(
        lambda found, expected: np.testing.assert_array_equal(found, np.asarray(expected)[places]),
        sample.transition,
        other.transition,
    )


def test_a_single_transition_is_always_drawn():
    replay = uniform.UniformReplay(make_ring(num_envs=1, n_step=1))
    state, steps = replay.init(), Steps(replay.ring)
    for is_first in (True, False):
        step = steps.next()._replace(is_first=np.array([is_first]), is_last=np.zeros(1, bool))
        state = replay.add(state, step)
    sample = replay.sample(state, jax.random.key(0), 16)
    assert sample.keys.tolist() == [0] * 16
    assert sample.probabilities.tolist() == [1.0] * 16


def test_there_are_no_priorities():
    replay = uniform.UniformReplay(make_ring())
    assert not replay.has_priorities
    assert prioritized.PrioritizedReplay.has_priorities
    state = filled(replay)
    changed = replay.update_priorities(state, jnp.int32([3, 4]), jnp.float32([9, 0]))
    jax.tree.map(np.testing.assert_array_equal, changed, state)


def test_seeds_share_the_count_of_rows_alone():
    """Two seeds under vmap are two replays: what each holds and draws."""
    replay = uniform.UniformReplay(make_ring(num_seeds=2))
    axes = replay.seed_axes
    add = jax.jit(jax.vmap(replay.add, in_axes=(axes, 0), out_axes=axes))
    steps = [Steps(replay.ring, seed) for seed in (0, 1)]
    alone = [replay.init(), replay.init()]
    stack = lambda *x: jnp.stack([jnp.asarray(y) for y in x])  # noqa: E731
    together = jax.vmap(lambda _: replay.init(), out_axes=axes, axis_size=2, in_axes=0)(
        jnp.arange(2)
    )
    for _ in range(40):
        rows = [s.next() for s in steps]
        alone = [replay.add(state, row) for state, row in zip(alone, rows)]
        together = add(together, jax.tree.map(stack, *rows))
    assert together.ring.rows.shape == ()
    assert together.begin.shape == (2,)
    sample = jax.vmap(lambda state, rng: replay.sample(state, rng, 32), in_axes=(axes, 0))(
        together, stack(jax.random.key(5), jax.random.key(6))
    )
    sizes = [int(replay.size(state)) for state in alone]
    assert sample.size.tolist() == sizes
    assert keys_of(alone[0]) != keys_of(alone[1])
    for k, state in enumerate(alone):
        expected = replay.sample(state, jax.random.key(5 + k), 32)
        jax.tree.map(
            lambda found, wanted, k=k: np.testing.assert_allclose(found[k], wanted, rtol=1e-6),
            sample,
            expected,
        )


def test_the_large_part_of_a_state_can_be_taken_out_and_put_back():
    replay = uniform.UniformReplay(make_ring())
    state = filled(replay)
    rows = replay.rows(state)
    assert rows.array is state.ring.observations
    assert int(rows.num_rows) == 40
    without = replay.with_rows(state, None)
    assert without.ring.observations is None
    restored = replay.with_rows(without, np.asarray(rows.array))
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    jax.tree.map(
        np.testing.assert_array_equal,
        replay.sample(restored, jax.random.key(0), 8),
        replay.sample(state, jax.random.key(0), 8),
    )

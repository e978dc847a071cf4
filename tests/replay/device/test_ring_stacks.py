"""The ring's arrays: stacks equal to the emulators' own, packed pixels, memory, capacity."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ale_py import vector_env
from dm_env import specs

from core import checks
from replay import base
from replay.device import frame_ring, prioritized, uniform
from tests.core import sections
from training.learning import replay_learner

NUM_ENVS, NUM_ROWS, NUM_STEPS = 2, 48, 210


def make_replay(observation, num_rows=16, frame_stack=4):
    spec = base.TransitionSpec(observation, 2, frame_stack, n_step=3, discount=0.99)
    ring = frame_ring.FrameRing(spec, num_rows)
    return prioritized.PrioritizedReplay(ring, priority_exponent=0.5, uniform_mix=1e-3)


def frame_spec(*shape, dtype=np.uint8):
    return specs.Array(shape, dtype)


class Recording(NamedTuple):
    """A random play with ALE's own stacks of four frames; every field [steps, N, ...]."""

    stacks: np.ndarray
    is_first: np.ndarray
    is_last: np.ndarray
    lost_life: np.ndarray


@functools.cache
def record(game, max_frames):
    """Plays with life losses reported as ALE does: terminated, though the game goes on."""
    emulators = vector_env.AtariVectorEnv(
        game,
        NUM_ENVS,
        num_threads=1,
        stack_num=4,
        reward_clipping=False,
        use_fire_reset=False,
        life_loss_info=True,
        max_num_frames_per_episode=max_frames,
    )
    random = np.random.RandomState(0)
    stacks, info = emulators.reset(seed=np.arange(NUM_ENVS, dtype=np.int32))
    rows = [(stacks, np.ones(NUM_ENVS, bool), np.zeros(NUM_ENVS, bool), np.zeros(NUM_ENVS, bool))]
    for _ in range(NUM_STEPS - 1):
        # Action 1 is FIRE: balls get into play.
        actions = random.choice([0, 1, 1, 2, 3], NUM_ENVS).astype(np.int32)
        stacks, _, terminated, truncated, info = emulators.step(actions)
        lost_life = terminated & (info["lives"] > 0)
        rows.append((stacks, rows[-1][2], truncated | (terminated & ~lost_life), lost_life))
    return Recording(*(np.stack(field) for field in zip(*rows)))


# Breakout loses five lives in each game; Pong is truncated after 20 steps and no-ops.
GAMES = [("breakout", 108_000), ("pong", 80)]


def test_the_recordings_hold_what_they_are_for():
    """Life losses within episodes, and ends of both kinds near each other."""
    breakout, pong = (record(*game) for game in GAMES)
    assert breakout.lost_life.sum() >= 5
    assert (breakout.is_last.sum(0) >= 1).all()
    assert (pong.is_last.sum(0) >= 9).all()
    assert not pong.lost_life.any()


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game[0])
def test_stacks_from_the_ring_are_the_emulators_own(game):
    """Bit by bit, for all transitions at five moments of a ring that wraps around four times."""
    recording = record(*game)
    replay = make_replay(frame_spec(84, 84), num_rows=NUM_ROWS)
    add = jax.jit(replay.add, donate_argnums=0)
    transitions = jax.jit(replay.ring.transitions)
    state = replay.init()
    for t in range(NUM_STEPS):
        state = add(state, newest_step(recording, t))
        if t in (7, 40, 101, 150, NUM_STEPS - 1):
            rows, env_ids = np.meshgrid(np.arange(NUM_ROWS), np.arange(NUM_ENVS), indexing="ij")
            rows, env_ids = t - rows.ravel(), env_ids.ravel()
            expected = can_be_sampled(recording, t, rows, env_ids)
            np.testing.assert_array_equal(is_present(state, rows, env_ids), expected)
            found = transitions(state.ring, np.maximum(rows, 0), env_ids)
            rows, env_ids = rows[expected], env_ids[expected]
            np.testing.assert_array_equal(found.s_tm1[expected], recording.stacks[rows, env_ids])
            ends = rows + steps_ahead(recording, rows, env_ids)
            np.testing.assert_array_equal(found.s_t[expected], recording.stacks[ends, env_ids])


def newest_step(recording, t):
    zeros = np.zeros(NUM_ENVS, np.float32)
    return base.Step(
        observation=recording.stacks[t][:, -1],
        is_first=recording.is_first[t],
        is_last=recording.is_last[t],
        reward=zeros,
        discount=zeros,
        action=zeros.astype(np.int32),
    )


def can_be_sampled(recording, t, rows, env_ids):
    """All but the three newest rows, the three that lost frames, and steps that end an episode."""
    is_inside = (rows >= max(0, t - NUM_ROWS + 1 + 3)) & (rows <= t - 3)
    return is_inside & ~recording.is_last[np.maximum(rows, 0), env_ids]


def is_present(state, rows, env_ids):
    leaves = (rows % NUM_ROWS) * NUM_ENVS + env_ids
    return np.asarray(state.tree.present).ravel()[leaves]


def steps_ahead(recording, rows, env_ids):
    """Three, or fewer until the episode's last step."""
    ends = [recording.is_last[row + 1 : row + 4, env_id] for row, env_id in zip(rows, env_ids)]
    return np.array([np.argmax(end) + 1 if end.any() else 3 for end in ends])


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game[0])
def test_stacks_for_acting_are_the_emulators_own(game):
    """What replay_learner.push makes of the newest frames, through life losses and new episodes."""
    recording = record(*game)
    push = jax.jit(replay_learner.push, static_argnums=3)
    newest = recording.stacks[:, :, -1]
    stack = replay_learner.empty_stack(jnp.asarray(newest[0]), 4)
    for t in range(NUM_STEPS):
        stack = push(stack, newest[t], recording.is_first[t], 4)
        np.testing.assert_array_equal(stack, recording.stacks[t])


@pytest.mark.parametrize(("shape", "frame_stack"), [((84, 84), 4), ((6, 6), 2), ((5, 7), 4)])
def test_pixels_come_back_as_they_went_in(shape, frame_stack):
    """Every value in every place; frames whose pixels are no multiple of four are not packed."""
    replay = make_replay(frame_spec(*shape), frame_stack=frame_stack)
    frames = np.random.RandomState(0).randint(0, 256, (9, 2, *shape)).astype(np.uint8)
    state = filled(replay, frames)
    found = jax.jit(replay.ring.transitions)(state.ring, jnp.array([4, 5]), jnp.array([1, 0]))
    assert found.s_tm1.dtype == np.uint8
    for b, (row, env_id) in enumerate([(4, 1), (5, 0)]):
        first = row - frame_stack + 1
        np.testing.assert_array_equal(found.s_tm1[b], frames[first : row + 1, env_id])
        np.testing.assert_array_equal(found.s_t[b], frames[first + 3 : row + 4, env_id])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((128,), np.uint8), ((8, 8), np.uint8), ((3,), np.uint8), ((5,), np.float32)],
)
def test_observations_that_are_not_stacked_come_back_as_they_went_in(shape, dtype):
    """Such as the 128 bytes of an Atari's memory, or a vector of floats."""
    replay = make_replay(frame_spec(*shape, dtype=dtype), frame_stack=0)
    observations = np.random.RandomState(1).uniform(0, 256, (9, 2, *shape)).astype(dtype)
    state = filled(replay, observations)
    found = jax.jit(replay.ring.transitions)(state.ring, jnp.array([2, 5]), jnp.array([1, 0]))
    assert found.s_tm1.dtype == dtype
    np.testing.assert_array_equal(found.s_tm1, observations[[2, 5], [1, 0]])
    np.testing.assert_array_equal(found.s_t, observations[[5, 8], [1, 0]])


def filled(replay, observations):
    """A ring with one long episode in each environment."""
    state, add = replay.init(), jax.jit(replay.add)
    env_ids = np.zeros(replay.ring.spec.num_envs)
    for t, observation in enumerate(observations):
        is_first, is_last = np.full(env_ids.shape, t == 0), np.zeros(env_ids.shape, bool)
        reward, action = env_ids.astype(np.float32), env_ids.astype(np.int32)
        state = add(state, base.Step(observation, is_first, is_last, reward, reward, action))
    return state


@pytest.mark.parametrize("num_envs", [1, 16, 64])
def test_a_million_frames_take_seven_gigabytes_once(num_envs):
    """Each frame is stored once, and no array has more elements than 32 bits can address."""
    replay = make_from_section(num_envs=num_envs)
    shapes = jax.eval_shape(replay.init)
    observations = shapes.ring.observations
    assert observations.size * observations.dtype.itemsize == 1_000_000 * 84 * 84
    assert all(leaf.size < 2**31 for leaf in jax.tree.leaves(shapes))
    # Beside the frames there are only some bytes to a transition.
    rest = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    assert rest - 1_000_000 * 84 * 84 < 25_000_000


def make_from_section(module=prioritized, num_envs=16, num_seeds=1, **changes):
    """The replay of a section with Rainbow's defaults but for these changes."""
    chosen = sections.parse(module.Settings, "replay", **changes)
    spec = base.TransitionSpec.make(base.TransitionSettings(), frame_spec(84, 84), num_envs)
    return module.make(chosen, spec, num_seeds)


every_module = pytest.mark.parametrize("module", [prioritized, uniform])


@every_module
def test_a_capacity_that_holds_no_transition_is_refused(module):
    """Each environment needs its n steps and the frames before: here 8 rows of 16."""
    message = r"^replay.capacity = 112: expected at least 128 with 16 environments, "
    with pytest.raises(checks.ConfigError, match=message):
        make_from_section(module, capacity=127, min_size=100)
    make_from_section(module, capacity=128, min_size=100)


@every_module
def test_a_capacity_beyond_one_array_is_refused(module):
    with pytest.raises(checks.ConfigError, match=r"^replay.capacity = 2000000: expected at most"):
        make_from_section(module, capacity=2_000_000)


@pytest.mark.parametrize(("num_seeds", "most"), [(1, 1_217_392), (2, 608_688), (4, 304_336)])
def test_seeds_share_the_elements_of_one_array(num_seeds, most):
    """A frame is 1764 words. What the message names fits; another row of 16 does not."""
    with pytest.raises(checks.ConfigError) as error:
        make_from_section(capacity=2_000_000, num_seeds=num_seeds)
    assert f"at most {most} observations" in str(error.value)
    assert f"num_seeds = {num_seeds} " in str(error.value)
    replay = make_from_section(capacity=most, num_seeds=num_seeds)
    size = jax.eval_shape(replay.init).ring.observations.size
    assert num_seeds * size < 2**31 <= num_seeds * (size + 16 * 84 * 84 // 4)
    with pytest.raises(checks.ConfigError):
        make_from_section(capacity=most + 16, num_seeds=num_seeds)


@every_module
def test_a_minimum_beyond_the_capacity_is_refused(module):
    with pytest.raises(checks.ConfigError, match=r"^replay.min_size = 2000: expected at most"):
        make_from_section(module, capacity=1600, min_size=2000)


@pytest.mark.parametrize(
    "change", [{"priority_exponent": -0.5}, {"uniform_mix": 1.5}, {"max_priority": 0.0}]
)
def test_bad_settings_are_refused(change):
    with pytest.raises(checks.ConfigError, match=rf"^replay\.{next(iter(change))} = "):
        make_from_section(**change)

"""CartPole as pure functions beside gymnasium's, and the shifts of its tasks."""

import gymnasium
import jax
import numpy as np
import pytest

from envs import base, cartpole

_move = jax.jit(cartpole.move)


def test_every_step_is_gymnasium_s():
    """From random places, far beyond those of an episode."""
    other = gymnasium.make("CartPole-v1").unwrapped
    random = np.random.RandomState(0)
    for _ in range(200):
        numbers = random.normal(size=4) * [1.5, 2, 0.15, 2]
        action = random.randint(2)
        other.reset(seed=0)
        other.state = tuple(numbers)
        expected, reward, is_over, _, _ = other.step(action)
        np.testing.assert_allclose(_move(np.float32(numbers), action), expected, atol=1e-5)
        stepped = cartpole.dynamics(cartpole.Settings()).step(
            cartpole.parameters_of(cartpole.Settings()),
            {"numbers": np.float32(numbers), "steps": np.int32(0)},
            action,
            jax.random.key(0),
        )
        assert (float(stepped.reward), bool(stepped.is_terminal)) == (reward, is_over)


def test_whole_episodes_are_gymnasium_s():
    """With the same beginning and the same actions, to the step on which the pole falls."""
    other = gymnasium.make("CartPole-v1").unwrapped
    random = np.random.RandomState(1)
    environment = base.make(cartpole.Settings(), 1, 3)
    timestep = environment.reset()
    for _ in range(10):
        assert (np.abs(timestep.observation) <= 0.05).all()
        other.reset(seed=0)
        other.state = tuple(np.float64(timestep.observation[0]))
        is_over = False
        while not is_over:
            action = random.randint(2)
            expected, _, is_over, _, _ = other.step(action)
            timestep = environment.step(np.array([action]))
            np.testing.assert_allclose(timestep.observation[0], expected, atol=1e-4)
            assert bool(timestep.last()[0]) == is_over
            assert timestep.discount[0] == (not is_over)
        timestep = environment.step(np.array([0]))
    environment.close()


def test_an_episode_is_cut_at_its_longest():
    environment = base.make(cartpole.Settings(max_steps=5), 1, 0)
    environment.reset()
    timesteps = [environment.step(np.array([k % 2])) for k in range(5)]
    assert timesteps[-1].last()[0]
    assert timesteps[-1].discount[0] == 1
    assert environment.finished_episodes() == [base.Episode(0, 5.0, 5)]


def test_tasks_shift_what_is_seen_and_nothing_else():
    shifts = [
        np.asarray(cartpole.parameters_of(cartpole.Settings(task=task))["shift"])
        for task in range(200)
    ]
    assert not shifts[0].any()
    assert np.std(shifts[1:]) == pytest.approx(2, rel=0.1)
    plain, shifted = (base.make(cartpole.Settings(task=task), 2, 5) for task in (0, 3))
    pairs = [(plain.reset(), shifted.reset())]
    for k in range(60):
        actions = np.array([k % 2, (k // 2) % 2])
        pairs.append((plain.step(actions), shifted.step(actions)))
    for ours, theirs in pairs:
        np.testing.assert_allclose(
            theirs.observation - ours.observation, [shifts[3]] * 2, atol=1e-5
        )
        np.testing.assert_array_equal(theirs.step_type, ours.step_type)

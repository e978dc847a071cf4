"""PointmassHard: its map, moves by hand, rewards, and how far its goal is."""

import collections

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from envs import base, point_mass

FIRST, MID, LAST = dm_env.StepType


def test_the_doors_of_the_four_rooms():
    is_wall = point_mass.walls("hard")[::2, ::2]
    assert is_wall.shape == (11, 11)
    assert np.flatnonzero(~is_wall[:, 5]).tolist() == [2, 9]
    assert np.flatnonzero(~is_wall[5, :6]).tolist() == [1]
    assert np.flatnonzero(~is_wall[6, 5:]).tolist() == [3]  # column 8
    assert not point_mass.walls("easy").any()


_push = jax.jit(jax.vmap(point_mass.push, in_axes=(0, 0, None)))


def test_a_push_by_hand():
    """Free; into a wall from 9.95, refused from the first part on; outside; along a wall."""
    is_wall = point_mass.walls("hard")
    start = np.array([[2.0, 2.0], [2.0, 9.95], [0.05, 2.0], [2.0, 9.95]])
    moves = np.array([[0.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 1.0]])
    end = _push(start, moves, is_wall)
    np.testing.assert_allclose(end, [[2.0, 3.0], [2.0, 9.95], [0.05, 2.0], [3.0, 9.95]], rtol=1e-6)


def test_each_action_moves_along_one_axis_on_average():
    """With noise of N(0, 0.5^2) on both axes, in the middle of a room: nothing is in the way."""
    parameters = point_mass.parameters_of(point_mass.Settings())
    state = {"position": jnp.full(2, 5.0), "steps": jnp.int32(1)}
    step = jax.vmap(point_mass.dynamics(point_mass.Settings()).step, in_axes=(None, None, None, 0))
    rngs = jax.random.split(jax.random.key(0), 4_000)
    for action, move in enumerate([[0, 0], [0, 1], [0, -1], [1, 0], [-1, 0]]):
        moved = np.asarray(step(parameters, state, action, rngs).state["position"]) - 5
        np.testing.assert_allclose(moved.mean(0), move, atol=0.04)
        np.testing.assert_allclose(np.cov(moved.T), 0.25 * np.eye(2), atol=0.02)


def _steps_to_goal(name):
    """With moves of exactly one, by breadth-first search."""
    is_wall, goal = point_mass.walls(name), point_mass.goal(name)
    start = (2, 2)
    steps, queue = {start: 0}, collections.deque([start])
    while queue:
        place = queue.popleft()
        if np.linalg.norm(np.array(place) - goal) < 2:
            return steps[place]
        for move in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            after = _push(np.array([place], float), np.array([move], float), is_wall)
            nearest = tuple(np.round(after[0]).astype(int).tolist())
            if nearest not in steps and np.allclose(after[0], nearest, atol=1e-4):
                steps[nearest] = steps[place] + 1
                queue.append(nearest)
    raise AssertionError("no way")


def test_the_shortest_way_without_noise():
    assert _steps_to_goal("easy") == 10
    assert _steps_to_goal("hard") == 34


def test_an_episode_that_reaches_the_goal_and_one_that_does_not():
    """Straight to the goal of the empty map: -1 a step, then 0 and the end; else a cut."""
    environment = base.make(point_mass.Settings(map="easy", max_steps=30), 2, 3)
    timestep = environment.reset()
    rewards, ended = [], None
    for k in range(30):
        action = 1 if timestep.observation[0, 1] < 0.75 else 3
        timestep = environment.step(np.array([action, 0]))
        if ended is None:
            rewards.append(float(timestep.reward[0]))
        if ended is None and timestep.step_type[0] == LAST:
            ended = k
            assert timestep.discount[0] == 0
    assert rewards == [-1.0] * ended + [0.0]
    assert timestep.step_type[1] == LAST
    assert (timestep.reward[1], timestep.discount[1]) == (-1.0, 1.0)
    first = environment.finished_episodes()[0]
    assert first == base.Episode(0, -float(ended), ended + 1)

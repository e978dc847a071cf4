"""Plays environments, and compares what they gave."""

import numpy as np


def draw_actions(environment, num_steps, seed=0):
    """Actions [num_steps, N]."""
    num_actions = environment.action_spec().num_values
    rng = np.random.default_rng(seed)
    return rng.integers(num_actions, size=(num_steps, environment.num_envs))


def play(environment, actions):
    """The time steps that actions [T, N] give."""
    return [environment.step(row) for row in actions]


def play_randomly(environment, num_steps, seed=0):
    """The time steps that as many drawn actions give."""
    return play(environment, draw_actions(environment, num_steps, seed))


def assert_equal(timesteps, expected):
    """The same arrays in every step."""
    for timestep, expected_timestep in zip(timesteps, expected, strict=True):
        for array, expected_array in zip(timestep, expected_timestep, strict=True):
            np.testing.assert_array_equal(array, expected_array)


def check_sequence_continues(sequence, restored, path, num_steps, steps_after, num_more):
    """A sequence's state, through a file, in another instance: both go on alike.

    Args:
      sequence: is played; both are closed.
      restored: an instance of the same settings.
      path: of the file.
      num_steps: of the first task.
      steps_after: of the second; 0: saved while the first is being left; None: before that.
      num_more: steps that are compared afterwards.
    """
    sequence.reset()
    current = play_randomly(sequence, num_steps)[-1]
    if steps_after is not None:
        current = sequence.next_task()
    if steps_after:
        current = play_randomly(sequence, steps_after)[-1]
    np.savez(path, **sequence.get_state())
    with np.load(path) as state:
        assert_equal([restored.set_state(state)], [current])
    assert restored.task == sequence.task
    if steps_after is None:
        assert_equal([restored.next_task()], [sequence.next_task()])
    played = play_randomly(restored, num_more, seed=1)
    assert_equal(played, play_randomly(sequence, num_more, seed=1))
    assert restored.finished_episodes() == sequence.finished_episodes()
    sequence.close()
    restored.close()

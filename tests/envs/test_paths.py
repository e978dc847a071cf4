"""Training, evaluation, films and actors are given the same by every environment module."""

import re
import types
from typing import Any

import dm_env
import gymnasium
import imageio_ffmpeg
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from gymnasium import spaces

from agents import base as agents_base
from core import checks, finite
from envs import atari, base, gymnasium_vector, probes
from replay import base as replay_base
from training import experiment, run_settings
from training.acting import choosing, evaluation, filming
from training.system import stopping


class _FromThree(gymnasium.Env):
    """Its actions begin at 3, and it counts in float64; it is over after six steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(4, start=3)

    def __init__(self, reward=0.1, render_mode=None):
        self.render_mode = render_mode
        self._reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps, self._last = 0, 0
        return np.zeros(2), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self._steps, self._last = self._steps + 1, int(action)
        reward = self._reward * self._last
        return np.array([self._steps, self._last / 3]), reward, self._steps == 6, False, {}

    def render(self):
        return np.full((21, 35, 3), 40 * self._last, np.uint8)


gymnasium.register("FromThree-v0", _FromThree)

SECTIONS = {
    "atari": (atari, {"game": "breakout", "max_episode_frames": 240}),
    "atari_machado": (
        atari,
        {"game": "qbert", "protocol": "machado", "max_episode_frames": 240},
    ),
    "cartpole": (gymnasium_vector, {"id": "CartPole-v1"}),
    "from_three": (gymnasium_vector, {"id": "FromThree-v0"}),
    "probe": (probes, {"probe": 5}),
}
every_section = pytest.mark.parametrize("name", SECTIONS)
with_screens = pytest.mark.parametrize("name", ["atari", "atari_machado", "cartpole", "from_three"])


def _section(name, **more):
    module, changes = SECTIONS[name]
    return module.Settings(**changes, **more)


def _agent(num_actions):
    """Chooses by what it sees, so that other observations lead to other actions."""

    def act(params, rng, observations, steps=0, mode="evaluation"):
        del params, rng, steps, mode
        flat = observations.reshape(observations.shape[0], -1).astype(jnp.float32)
        return (jnp.abs(flat).sum(-1) * 7.3).astype(jnp.int32) % num_actions

    return agents_base.Agent(**dict.fromkeys(agents_base.Agent._fields, act))


def _play(environment, act, is_over=lambda timestep: timestep.last()[0]):
    """The time steps of an episode of environment 0, and its actions."""
    timestep = environment.reset()
    timesteps, actions = [timestep], []
    while not is_over(timestep):
        actions.append(np.asarray(act(None, None, jnp.asarray(timestep.observation))))
        timestep = environment.step(actions[-1])
        timesteps.append(timestep)
    return timesteps, actions


@every_section
def test_evaluation_is_given_what_training_is(name):
    """Its returns are the sums of the rewards that training sees."""
    config = _section(name)
    environment = base.make(config, 1, seed=3)
    agent = _agent(environment.action_spec().num_values)
    timesteps, actions = _play(environment, agent.act)
    evaluator = evaluation.Evaluator(agent, 0, 10**6)
    (episode,) = evaluator.play(None, config, num_envs=1, num_episodes=1, seed=3)
    assert episode.episode_return == sum(float(t.reward[0]) for t in timesteps)
    assert episode.length_frames == len(actions) * environment.frames_per_step


@with_screens
def test_a_film_shows_what_training_is_given(name):
    config = _section(name)
    environment = base.make(config, 1, seed=3)
    agent = _agent(environment.action_spec().num_values)
    timesteps, actions = _play(environment, agent.act)
    filmed = base.make_filmed(config, seed=3)
    shown = [filmed.environment.reset()]
    screens = [filmed.screen(None)]
    for action in actions:
        shown.append(filmed.environment.step(action))
        screens.append(filmed.screen(action))
    for timestep, expected in zip(shown, timesteps, strict=True):
        for array, wanted in zip(timestep, expected, strict=True):
            np.testing.assert_array_equal(array, wanted)
            assert array.dtype == wanted.dtype
    assert {(screen.dtype, screen.shape) for screen in screens} == {
        (
            np.dtype(np.uint8),
            screens[0].shape,
        )
    }
    assert any((screen != screens[0]).any() for screen in screens)


def test_a_twin_shows_the_game_that_is_played():
    """Atari's screen in grey, made small, is nearly the agent's picture of the same step."""
    cv2 = pytest.importorskip("cv2")
    filmed = base.make_filmed(_section("atari"), seed=3)
    timestep, screen = filmed.environment.reset(), filmed.screen(None)
    for i in range(40):
        action = np.array([i % 4])
        timestep, screen = filmed.environment.step(action), filmed.screen(action)
    grey = cv2.cvtColor(screen, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (84, 84), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - timestep.observation[0]).mean() < 2


@every_section
def test_the_learner_and_actors_are_given_the_time_step_itself(name):
    environment = base.make(_section(name), 4, seed=3)
    agent = _agent(environment.action_spec().num_values)
    timesteps, _ = _play(environment, agent.act)
    learner: Any = types.SimpleNamespace(num_seeds=2, max_abs_reward=0.35)
    for timestep in timesteps:
        observed = experiment.observed(timestep, learner)
        for array, wanted in (
            (observed.observation, timestep.observation),
            (observed.reward, choosing.clip_rewards(timestep.reward, learner.max_abs_reward)),
            (observed.discount, timestep.discount),
            (observed.is_first, timestep.step_type == dm_env.StepType.FIRST),
            (observed.is_last, timestep.step_type == dm_env.StepType.LAST),
        ):
            np.testing.assert_array_equal(array.reshape(wanted.shape), wanted)


def test_rewards_are_clipped_for_learning_alone():
    rewards = np.array([-3.0, -0.2, 0.0, 0.7, 2.0], np.float32)
    clipped = choosing.clip_rewards(rewards, 0.5)
    np.testing.assert_array_equal(clipped, np.array([-0.5, -0.2, 0.0, 0.5, 0.5], np.float32))
    assert clipped.dtype == np.float32


def test_actions_that_do_not_begin_at_zero():
    """All paths send 3 for the first action; rewards are those of the game, in float32."""
    config = _section("from_three")
    environment = base.make(config, 1, seed=0)
    environment.reset()
    assert [environment.step(np.array([a])).reward[0] for a in range(4)] == pytest.approx(
        [0.3, 0.4, 0.5, 0.6]
    )
    filmed = base.make_filmed(config, seed=0)
    filmed.environment.reset()
    filmed.environment.step(np.array([2]))
    assert filmed.screen(np.array([2]))[0, 0, 0] == 5 * 40


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), 1e39])
def test_rewards_that_are_not_finite_name_their_environment(reward):
    environment = base.make(_section("from_three", kwargs={"reward": reward}), 2, seed=0)
    environment.reset()
    name = re.escape(f"FromThree-v0_reward={reward}")
    expected = rf"reward of {name}, environment \[0\] = (nan|inf): expected a finite"
    with pytest.raises(finite.NotFiniteError, match=expected):
        environment.step(np.array([1, 1]))


@pytest.mark.parametrize(
    ("name", "expected"), [("from_three", 7.0), ("cartpole", 50.0), ("atari", 15.0)]
)
def test_frame_rate_is_the_environments(name, expected):
    assert base.make_filmed(_section(name), seed=0).frames_per_second == expected


class _Player:
    """What `recording` needs of a policy."""

    def __init__(self, name, num_actions):
        self.environment = _section(name)
        self.params = None
        self.settings = run_settings.RunSettings(
            transition=replay_base.TransitionSettings(frame_stack=0)
        )
        self._agent = _agent(num_actions)

    def evaluator(self):
        return evaluation.Evaluator(self._agent, 0, 10**6)


def test_a_film_has_a_picture_for_every_step_at_the_environments_rate(tmp_path):
    path = tmp_path / "film.mp4"
    total = filming.record(_Player("from_three", 4), path, seed=0, max_steps=100)
    assert total > 0
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    assert about["fps"] == 7
    assert about["size"] == (1050, 630)
    assert len(list(reader)) == 1 + 6
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


def test_a_gif_has_the_same_pictures(tmp_path):
    path = tmp_path / "film.gif"
    total = filming.record(_Player("from_three", 4), path, seed=0, max_steps=100)
    with PIL.Image.open(path) as film:
        assert (film.n_frames, film.size) == (1 + 6, (700, 420))
        assert film.info["duration"] == pytest.approx(1000 / 7, abs=10)
        shown = [film.convert("RGB").getpixel((5, 5)) for _ in map(film.seek, range(7))]
    # Black at first, then a grey for the action; so is what was rewarded.
    assert shown[0] == (0, 0, 0)
    assert {colour[0] % 40 for colour in shown} == {0}
    assert 0.1 * sum(colour[0] // 40 for colour in shown) == pytest.approx(total)


def test_a_film_that_can_not_be_is_refused(tmp_path):
    message = r"expected a file \.mp4 or \.gif in a directory that exists"
    for path in (tmp_path / "film.avi", tmp_path / "none" / "film.gif"):
        with pytest.raises(checks.ConfigError, match=message):
            filming.record(_Player("from_three", 4), path, seed=0)
    with pytest.raises(checks.ConfigError, match="max_steps = 1001: expected at most 1000 of a"):
        filming.record(_Player("from_three", 4), tmp_path / "a.gif", seed=0, max_steps=1001)


@pytest.mark.parametrize("steps", [0, 3])
def test_a_film_that_fails_leaves_nothing_but_the_one_before(tmp_path, monkeypatch, steps):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"earlier")
    screens = [np.full((20, 30, 3), i, np.uint8) for i in range(steps)]

    def render(self):
        return screens.pop()

    monkeypatch.setattr(_FromThree, "render", render)
    with pytest.raises(ValueError, match="does not draw itself: IndexError"):
        filming.record(_Player("from_three", 4), path, seed=0, max_steps=100)
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]
    assert path.read_bytes() == b"earlier"


def test_a_film_that_is_stopped_leaves_nothing(tmp_path):
    asked = iter([False, False, True])
    path = tmp_path / "film.mp4"
    with pytest.raises(stopping.Stopped):
        filming.record(_Player("from_three", 4), path, 0, 100, stop=lambda: next(asked))
    assert not list(tmp_path.iterdir())


def test_no_fork_beside_jax(tmp_path, recwarn):
    jax.devices()
    filming.record(_Player("from_three", 4), tmp_path / "film.mp4", seed=0, max_steps=3)
    assert not [str(w.message) for w in recwarn if "fork" in str(w.message)]

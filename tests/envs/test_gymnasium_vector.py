"""Gymnasium environments through the contract, against the plain single environments."""

import sys

import dm_env
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from core import checks
from envs import base, gymnasium_vector

FIRST, MID, LAST = dm_env.StepType


def make_environment(name, num_envs=2, seed=5):
    return base.make(gymnasium_vector.Settings(id=name), num_envs, seed)


class Countdown(gymnasium.Env):
    """Shows the steps left of three, pays the action; terminated and truncated are arguments."""

    def __init__(self, observation_space, action_space, ends):
        self.observation_space, self.action_space = observation_space, action_space
        self._ends = ends

    def _observe(self):
        return np.full(self.observation_space.shape, self._left, self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._left = 3
        return self._observe(), {}

    def step(self, action):
        self._left -= 1
        terminated, truncated = self._ends if self._left == 0 else (False, False)
        return self._observe(), float(action), terminated, truncated, {}


@pytest.fixture
def register():
    """Registers Countdown as "Countdown-v0" with the arguments given, for one test."""

    def register_countdown(**arguments):
        gymnasium.register("Countdown-v0", entry_point=lambda: Countdown(**arguments))
        return "Countdown-v0"

    yield register_countdown
    gymnasium.registry.pop("Countdown-v0", None)


FLOATS = spaces.Box(-1e300, 1e300, (2,), np.float64)
BYTES = spaces.Box(0, 255, (2, 3), np.uint8)


@pytest.mark.parametrize("name", ["CartPole-v1", "LunarLander-v3"])
def test_equals_the_single_environments(name):
    """Each is the single environment reset with its seed, over several episodes."""
    environment = make_environment(name)
    singles = [gymnasium.make(name) for _ in range(2)]
    timestep = environment.reset()
    for env_id, single in enumerate(singles):
        observation, _ = single.reset(seed=base.environment_seed(5, env_id))
        np.testing.assert_array_equal(timestep.observation[env_id], observation)
    num_actions = environment.action_spec().num_values
    num_ends = 0
    for actions in np.random.default_rng(0).integers(num_actions, size=(400, 2)):
        is_over = np.equal(timestep.step_type, LAST)
        timestep = environment.step(actions)
        for env_id, single in enumerate(singles):
            if is_over[env_id]:
                observation, _ = single.reset()
                expected = (FIRST, 0.0, 0.0)
            else:
                observation, reward, terminated, truncated, _ = single.step(actions[env_id])
                step_type = LAST if terminated or truncated else MID
                expected = (step_type, np.float32(reward), 1.0 - terminated)
            np.testing.assert_array_equal(timestep.observation[env_id], observation)
            assert tuple(field[env_id] for field in timestep[:3]) == expected
            num_ends += expected[0] == LAST
    assert num_ends >= 4
    environment.close()


@pytest.mark.parametrize(
    ("ends", "discount"), [((True, False), 0.0), ((False, True), 1.0), ((True, True), 0.0)]
)
def test_termination_and_truncation(register, ends, discount):
    """Only a pure truncation leaves a discount of 1 on the LAST."""
    name = register(observation_space=FLOATS, action_space=spaces.Discrete(2), ends=ends)
    environment = make_environment(name)
    environment.reset()
    timesteps = [environment.step(np.array([0, 1])) for _ in range(4)]
    assert [t.step_type[0] for t in timesteps] == [MID, MID, LAST, FIRST]
    assert [t.discount[1] for t in timesteps] == [1.0, 1.0, discount, 0.0]
    assert environment.finished_episodes() == [base.Episode(0, 0.0, 3), base.Episode(1, 3.0, 3)]
    environment.close()


def test_actions_begin_at_zero(register):
    """An environment whose first action is 5 is sent 5 + action."""
    space = spaces.Discrete(3, start=5)
    name = register(observation_space=FLOATS, action_space=space, ends=(True, False))
    environment = make_environment(name)
    environment.reset()
    assert environment.action_spec().num_values == 3
    np.testing.assert_array_equal(environment.step(np.array([0, 2])).reward, [5.0, 7.0])
    environment.close()


def test_bytes_stay_bytes(register):
    name = register(observation_space=BYTES, action_space=spaces.Discrete(2), ends=(True, False))
    environment = make_environment(name)
    spec, timestep = environment.observation_spec(), environment.reset()
    assert (spec.shape, spec.dtype) == ((2, 3), np.uint8)
    assert timestep.observation.dtype == np.uint8
    np.testing.assert_array_equal(timestep.observation, np.full((2, 2, 3), 3))
    environment.close()


def test_doubles_become_floats(register):
    """Bounds that float32 cannot hold become infinite."""
    name = register(observation_space=FLOATS, action_space=spaces.Discrete(2), ends=(True, False))
    environment = make_environment(name)
    spec = environment.observation_spec()
    assert spec.dtype == environment.reset().observation.dtype == np.float32
    np.testing.assert_array_equal(spec.maximum, np.inf)
    environment.close()


def test_set_state_starts_episodes_not_seen_before():
    """Not those of the first reset again, nor those that an interrupted run began with."""
    environment = make_environment("CartPole-v1")
    first = environment.reset().observation
    resumed = make_environment("CartPole-v1")
    second = resumed.set_state(environment.get_state())
    third = make_environment("CartPole-v1").set_state(resumed.get_state())
    assert (second.step_type == FIRST).all()
    assert not np.isin(second.observation, first).any()
    assert not np.isin(third.observation, [first, second.observation]).any()
    assert not environment.exact_resume


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPol-v1", "such as CartPole-v1"),
        ("LunarLander-v2", "such as LunarLander-v3"),
        ("no_such_package:Env-v0", "expected a registered id"),
        ("Pendulum-v1", "its actions are Box.*expected a Discrete"),
        ("FrozenLake-v1", "its observations are Discrete.*expected a Box"),
        ("Blackjack-v1", "its observations are Tuple.*expected a Box"),
    ],
)
def test_environments_that_do_not_fit_are_refused(name, message):
    with pytest.raises(checks.ConfigError, match=f"environment.id = '{name}': .*{message}"):
        make_environment(name)


def test_missing_package_is_named(monkeypatch):
    """Without Box2D, LunarLander's message says which extra to install."""
    for module in list(sys.modules):
        if module.startswith("gymnasium.envs.box2d"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(checks.ConfigError, match=r"not installed: .*gymnasium\[box2d\]"):
        make_environment("LunarLander-v3")

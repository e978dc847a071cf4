"""Any environment registered with Gymnasium: discrete actions, arrays for observations."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dm_env
import gymnasium
import ml_collections
import numpy as np
from dm_env import specs
from gymnasium import spaces, vector

from configs import checks
from envs import base, episodes, settings, turns

CHECKS = {
    "module": checks.text(),
    "id": checks.text(),
}


def default_config() -> ml_collections.ConfigDict:
    """The `environment` section of a run on a Gymnasium environment."""
    config = ml_collections.ConfigDict()
    config.module = "gymnasium_vector"
    # As registered, e.g. "CartPole-v1" (Gymnasium's classic control), "LunarLander-v3" (box2d).
    # Time limits and rewards are those of the registration.
    config.id = "CartPole-v1"
    return config


def make(config: Mapping[str, Any], num_envs: int, seed: int) -> "GymnasiumEnvironment":
    """Builds the environment; see `envs.base.make` and `default_config`.

    Raises:
      ConfigError: if the id is unknown, its packages are missing, or its spaces don't fit.
    """
    checks.verify("environment", config, CHECKS)
    environments = _make_environments(config["id"], num_envs)
    _check_spaces(config["id"], environments)
    return GymnasiumEnvironment(config["id"], environments, seed)


def screens(config: Mapping[str, Any], seed: int, actions: Sequence[int]) -> Iterator[np.ndarray]:
    """What the environment shows a person while lane 0 plays `actions` from its reset.

    Yields:
      uint8 [H, W, 3] for the reset and for each action.

    Raises:
      ConfigError: if the environment can't draw itself.
    """
    checks.verify("environment", config, CHECKS)
    try:
        environment = gymnasium.make(config["id"], render_mode="rgb_array")
        environment.reset(seed=base.lane_seed(seed, 0))
        yield np.asarray(environment.render())
        for action in actions:
            environment.step(action)
            yield np.asarray(environment.render())
    except gymnasium.error.Error as error:
        raise checks.ConfigError(f"environment.id = {config['id']!r}: {error}") from error


class GymnasiumEnvironment(base.VectorEnvironment):
    """N copies of a Gymnasium environment, stepped one after the other in this process.

    `send` only stores the actions; the work is done in `recv`. Observations are float32 if the
    environment's are floating, else uint8.

    Gymnasium can't save an environment: `set_state` starts new episodes, from seeds not used
    before, and what was running is abandoned.
    """

    frames_per_step = 1
    exact_resume = False

    def __init__(self, name: str, environments: vector.VectorEnv, seed: int):
        """Takes over `environments`, of NEXT_STEP autoreset; lanes are seeded from `seed`."""
        self.num_envs = environments.num_envs
        self._environments = environments
        self._seed = seed
        self._seed_count = 0
        self._settings = {"id": name, "num_envs": self.num_envs, "seed": seed}
        self._observation_spec = _observation_spec(environments.single_observation_space)
        action_space = environments.single_action_space
        assert isinstance(action_space, spaces.Discrete)
        self._first_action = int(action_space.start)
        self._num_actions = int(action_space.n)
        self._turns = turns.Turns(self.num_envs, self._num_actions)
        self._episodes = episodes.EpisodeRecorder(self.num_envs, self.frames_per_step)
        self._actions = np.zeros(self.num_envs, np.int32)
        self._is_over = np.zeros(self.num_envs, bool)

    def observation_spec(self) -> specs.BoundedArray:
        """The Box of the environment, as float32 or uint8."""
        return self._observation_spec

    def action_spec(self) -> specs.DiscreteArray:
        """Actions from 0 on, whatever the environment's first action is."""
        return specs.DiscreteArray(self._num_actions, np.int32, name="action")

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode in every lane, from new seeds each time."""
        self._turns.start()
        lanes = range(self.num_envs)
        seeds = [base.lane_seed(self._seed, lane, self._seed_count) for lane in lanes]
        self._seed_count += 1
        observation, _ = self._environments.reset(seed=seeds)  # pyright: ignore[reportArgumentType]
        self._episodes.abandon()
        self._is_over = np.zeros(self.num_envs, bool)
        zeros = np.zeros(self.num_envs, np.float32)
        first = np.full(self.num_envs, int(dm_env.StepType.FIRST), np.int32)
        return dm_env.TimeStep(first, zeros, zeros.copy(), self._convert(observation))

    def send(self, actions: np.ndarray) -> None:
        """Stores the actions for `recv`."""
        self._actions = self._turns.send(actions)

    def recv(self) -> dm_env.TimeStep:
        """Steps the environments one after the other."""
        self._turns.recv()
        actions = self._actions + self._first_action
        observation, rewards, terminated, truncated, _ = self._environments.step(actions)
        is_first = self._is_over
        self._is_over = terminated | truncated
        timestep = dm_env.TimeStep(
            # FIRST 0, MID 1, LAST 2
            step_type=np.int32(1) + self._is_over - is_first,
            reward=rewards.astype(np.float32),
            discount=(~(terminated | is_first)).astype(np.float32),
            observation=self._convert(observation),
        )
        self._episodes.record(timestep)
        return timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        return self._episodes.finished()

    def get_state(self) -> dict[str, np.ndarray]:
        """How often the lanes were seeded, and the episodes not asked for yet."""
        self._turns.check_ready("get_state")
        return {
            "settings": settings.encode(self._settings),
            "seed_count": np.array(self._seed_count),
            **self._episodes.get_state(),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """Starts new episodes: every lane returns a FIRST. See the base class."""
        settings.check_equal(state["settings"], self._settings)
        self._seed_count = int(state["seed_count"])
        self._episodes.set_state(state)
        return self.reset()

    def close(self) -> None:
        """Closes the environments."""
        self._turns.close()
        self._environments.close()

    def _convert(self, observation: np.ndarray) -> np.ndarray:
        # The vector environment hands out copies: nothing later writes into them.
        return observation.astype(self._observation_spec.dtype, copy=False)


def _make_environments(name: str, num_envs: int) -> vector.VectorEnv:
    try:
        return gymnasium.make_vec(
            name,
            num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": vector.AutoresetMode.NEXT_STEP},
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise checks.ConfigError(
            f"environment.id = {name!r}: a package it needs is not installed: {error}"
        ) from error
    except (gymnasium.error.Error, ImportError) as error:
        close = difflib.get_close_matches(name, gymnasium.registry) or ["CartPole-v1", "..."]
        raise checks.ConfigError(
            f"environment.id = {name!r}: {error}; expected a registered id, "
            f"such as {', '.join(close)}"
        ) from error


def _check_spaces(name: str, environments: vector.VectorEnv) -> None:
    actions, observations = environments.single_action_space, environments.single_observation_space
    if not isinstance(actions, spaces.Discrete):
        raise checks.ConfigError(
            f"environment.id = {name!r}: its actions are {actions}; expected a Discrete space"
        )
    is_floating = np.issubdtype(observations.dtype, np.floating)
    if not isinstance(observations, spaces.Box) or not (
        is_floating or observations.dtype == np.uint8
    ):
        raise checks.ConfigError(
            f"environment.id = {name!r}: its observations are {observations}; expected a Box of "
            "floats or uint8"
        )


def _observation_spec(space: spaces.Space) -> specs.BoundedArray:
    assert isinstance(space, spaces.Box)
    dtype = np.uint8 if space.dtype == np.uint8 else np.float32
    with np.errstate(over="ignore"):  # a bound beyond float32 is no bound: inf
        low, high = space.low.astype(dtype), space.high.astype(dtype)
    return specs.BoundedArray(space.shape, dtype, low, high, name="observation")

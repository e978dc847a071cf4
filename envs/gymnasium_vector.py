"""Any environment registered with Gymnasium: discrete actions, arrays for observations."""

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from typing import Any

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces, vector

from core import checks, settings
from envs import base, episodes, saved_settings, turns

# Chosen here, and not by the user.
_OWN_ARGUMENTS = ("id", "num_envs", "vectorization_mode", "vector_kwargs", "render_mode")
# For films of environments whose metadata give no rate.
_FRAMES_PER_SECOND = 30


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment` of a run on a Gymnasium environment.

    Time limits and rewards are those of the registration.
    """

    module: str = settings.key(
        "gymnasium_vector", checks.one_of("gymnasium_vector"), "this environment"
    )
    id: str = settings.key(
        "CartPole-v1",
        checks.text(),
        "as registered, such as CartPole-v1 (classic control) or LunarLander-v3 (box2d); "
        "package.module:Id-v0 imports the module first, which registers it",
    )
    kwargs: Mapping[str, Any] = settings.key(
        {},
        checks.plain(),
        "further arguments of gymnasium.make, such as "
        "{'max_episode_steps': 200}: numbers, texts, booleans, None, and lists and dicts of such",
    )


def make(chosen: Settings, num_envs: int, seed: int) -> "GymnasiumEnvironment":
    """Builds the environment; see `envs.base.make`.

    Raises:
      ConfigError: if the id is unknown, its packages are missing, it does not take the arguments,
        or its spaces don't fit.
    """
    return GymnasiumEnvironment(chosen, _make_environments(chosen, num_envs), seed)


def frames_per_step(chosen: Settings) -> int:
    """1: there is no emulator."""
    del chosen
    return GymnasiumEnvironment.frames_per_step


def task_name(chosen: Settings) -> str:
    """The registered id, and the arguments, as environments of one id differ by them."""
    arguments = (f"{key}={value}" for key, value in sorted(chosen.kwargs.items()))
    # Also the name of a directory.
    return "_".join([chosen.id, *(re.sub(r"[^\w.=+-]+", "-", text) for text in arguments)])


def make_filmed(chosen: Settings, seed: int) -> base.Filmed:
    """As `make`, with what the environment renders; see `envs.base.Filmed`.

    Raises:
      ConfigError: if it can't render itself.
    """
    # Many render with pygame, which needs no window or desktop for this.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    environments = _make_environments(chosen, 1, render_mode="rgb_array")

    def screen(actions: np.ndarray | None) -> np.ndarray:
        del actions  # the environment itself is rendered
        try:
            screens: Any = environments.render()
            return np.asarray(screens[0], np.uint8)
        except Exception as error:  # whatever the environment's own code raises
            raise _error(chosen.id, f"does not draw itself: {_one_line(error)}") from error

    rate = environments.metadata.get("render_fps") or _FRAMES_PER_SECOND
    environment = GymnasiumEnvironment(chosen, environments, seed)
    return base.Filmed(environment, screen, float(rate))


class GymnasiumEnvironment(base.VectorEnvironment):
    """N copies of a Gymnasium environment, stepped one after the other in this process.

    `send` only stores the actions; the work is done in `recv`. Observations are float32 if the
    environment's are floating, else uint8.

    Gymnasium can't save an environment: `set_state` starts new episodes, from seeds not used
    before, and abandons the running ones.
    """

    frames_per_step = 1
    exact_resume = False

    def __init__(self, chosen: Settings, environments: vector.VectorEnv, seed: int):
        """Takes over `environments`, with NEXT_STEP autoreset; they are seeded from `seed`."""
        self.num_envs = environments.num_envs
        self._environments = environments
        self._name = task_name(chosen)
        self._seed = seed
        self._seed_count = 0
        self._settings = {
            "id": chosen.id,
            "kwargs": dict(chosen.kwargs),
            "num_envs": self.num_envs,
            "seed": seed,
        }
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
        """Starts an episode in every environment, from new seeds each time."""
        self._turns.start()
        env_ids = range(self.num_envs)
        seeds = [base.environment_seed(self._seed, env_id, self._seed_count) for env_id in env_ids]
        self._seed_count += 1
        observation, _ = self._environments.reset(seed=seeds)  # pyright: ignore[reportArgumentType]
        self._episodes.abandon()
        self._is_over = np.zeros(self.num_envs, bool)
        return base.make_first(self._name, self._convert(observation))

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
        timestep = base.make_timestep(
            self._name,
            self._convert(observation),
            rewards,
            terminated=terminated,
            truncated=truncated,
            is_first=is_first,
        )
        self._episodes.record(timestep)
        return timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        return self._episodes.finished()

    def check_ready(self, call: str) -> None:
        """See the base class."""
        self._turns.check_ready(call)

    def get_state(self) -> dict[str, np.ndarray]:
        """How often the environments were seeded, and the episodes not asked for yet."""
        self._turns.check_ready("get_state")
        return {
            "settings": saved_settings.encode(self._settings),
            "seed_count": np.array(self._seed_count),
            **self._episodes.get_state(),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """Starts new episodes: every environment returns a FIRST. See the base class."""
        saved_settings.check_equal(state["settings"], self._settings)
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


def _make_environments(chosen: Settings, num_envs: int, **more: Any) -> vector.VectorEnv:
    name, kwargs = chosen.id, dict(chosen.kwargs)
    for key in _OWN_ARGUMENTS:
        if key in kwargs:
            raise checks.ConfigError(
                f"environment.kwargs = {kwargs}: expected no {key!r}, which is chosen here"
            )
    try:
        environments = gymnasium.make_vec(
            name,
            num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": vector.AutoresetMode.NEXT_STEP},
            **kwargs,
            **more,
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise _error(name, f"a package it needs is not installed: {_one_line(error)}") from error
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.Error, ImportError) as error:
        close = difflib.get_close_matches(name, gymnasium.registry) or ["CartPole-v1", "..."]
        raise _error(
            name, f"{_one_line(error)}; expected a registered id, such as {', '.join(close)}"
        ) from error
    except Exception as error:  # whatever the environment's own code raises
        with_kwargs = f"can't be made with environment.kwargs = {kwargs}: "
        raise _error(name, with_kwargs + _one_line(error)) from error
    _check_spaces(name, environments)
    return environments


def _error(name: str, text: str) -> checks.ConfigError:
    return checks.ConfigError(f"environment.id = {name!r}: {text}")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


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

"""The environment contract: N environments stepped together, in dm_env's terms."""

import abc
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import dm_env
import numpy as np
from dm_env import specs

from core import checks, finite, plugins


class Episode(NamedTuple):
    """A finished episode of one lane: the unclipped return and the length in emulator frames.

    The length is the number of agent steps after the FIRST times `frames_per_step`.
    """

    lane: int
    episode_return: float
    length_frames: int


class VectorEnvironment(abc.ABC):
    """N environments ("lanes") stepped together; every field of a TimeStep has a leading axis [N].

    Per lane the sequence is dm_env's: the step after a LAST ignores its action and returns the
    FIRST of the next episode. On a FIRST, reward and discount are 0. (dm_env has None there; an
    array can't.) A termination is LAST with discount 0, a truncation LAST with discount 1, and a
    life loss under a protocol that reports it MID with discount 0. Rewards are the game's own,
    unclipped.

    `step_type` is int32 [N] (dm_env.StepType's values, so that `timestep.last()` is a bool [N]),
    `reward` and `discount` float32 [N], `observation` as the spec says with [N] in front.
    """

    num_envs: int
    frames_per_step: int
    """Emulator frames per agent step: the frame skip; 1 for environments that are not emulators."""
    exact_resume: bool
    """Whether set_state continues exactly; if not, it starts new episodes in every lane."""
    task: int = 0
    """Which task of a sequence the next step belongs to; 0 where there is only one."""

    @abc.abstractmethod
    def observation_spec(self) -> specs.Array:
        """One lane's observation, without the leading axis."""

    @abc.abstractmethod
    def action_spec(self) -> specs.DiscreteArray:
        """One lane's action."""

    @abc.abstractmethod
    def reset(self) -> dm_env.TimeStep:
        """Starts an episode in every lane."""

    @abc.abstractmethod
    def send(self, actions: np.ndarray) -> None:
        """Starts a step with int actions [N] and returns at once.

        Raises:
          ValueError: if the shape, type or range of the actions does not fit the spec.
          RuntimeError: before `reset` or `set_state`, or before the `recv` of the last `send`.
        """

    @abc.abstractmethod
    def recv(self) -> dm_env.TimeStep:
        """Waits for the step that `send` began.

        The arrays are the caller's to keep but not to change: later steps fill others.

        Raises:
          RuntimeError: if no step was sent.
        """

    def step(self, actions: np.ndarray) -> dm_env.TimeStep:
        """`send` and `recv` in one."""
        self.send(actions)
        return self.recv()

    @abc.abstractmethod
    def finished_episodes(self) -> list[Episode]:
        """The episodes that ended since the last call, in order of their end."""

    def next_task(self) -> dm_env.TimeStep:
        """Goes to the next task of a sequence; the present step is changed into a LAST.

        The next step ignores its actions and returns the FIRST of the next task in every lane.

        Returns:
          The present step: LAST in every lane, a truncation unless the episode ended on it anyway.

        Raises:
          RuntimeError: if there is only one task, or between a `send` and its `recv`.
        """
        raise RuntimeError("this environment has no other task")

    @abc.abstractmethod
    def get_state(self) -> dict[str, np.ndarray]:
        """All that `set_state` needs, as arrays by name.

        Raises:
          RuntimeError: between a `send` and its `recv`.
        """

    @abc.abstractmethod
    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """Restores `get_state`'s result in a new instance and returns the current time step.

        Raises:
          ValueError: if the state was taken from an environment of other settings.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the emulators; the instance can't be used afterwards.

        May be called while a step is under way, and again.
        """


class Filmed(NamedTuple):
    """An environment of one lane that plays, and what a person would see of it meanwhile.

    Attributes:
      environment: as `make` builds it.
      screen: the actions [1] of the last step, or None after the reset, to what is seen now:
        uint8 [H, W, 3].
      frames_per_second: at which it looks natural, one screen for each step.
    """

    environment: VectorEnvironment
    screen: Callable[[np.ndarray | None], np.ndarray]
    frames_per_second: float


def make_timestep(
    name: str,
    observation: np.ndarray,
    reward: Any,
    *,
    terminated: Any,
    truncated: Any,
    is_first: Any,
    discount: Any = 1.0,
) -> dm_env.TimeStep:
    """One step of every lane in the terms and types of the contract: see VectorEnvironment.

    Args:
      name: of the environment, for errors.
      observation: [N, ...], of the spec's type.
      reward: of the game [N], of any type.
      terminated: whether the step ends the lane's episode for good: bool [N].
      truncated: whether it cuts the episode: bool [N].
      is_first: whether it starts one: bool [N].
      discount: of steps that are neither the first nor terminal, [N] or one for all.

    Raises:
      NotFiniteError: if a reward or an observation is not finite in float32.
    """
    with np.errstate(over="ignore"):
        reward = np.where(is_first, 0, reward).astype(np.float32)
    finite.check(f"reward of environment {name}, lane", reward)
    finite.check(f"observation of environment {name}, lane and element", observation)
    return dm_env.TimeStep(
        # FIRST 0, MID 1, LAST 2
        step_type=np.int32(1) + np.logical_or(terminated, truncated) - np.asarray(is_first),
        reward=reward,
        discount=np.where(np.logical_or(terminated, is_first), 0, discount).astype(np.float32),
        observation=observation,
    )


def make_first(name: str, observation: np.ndarray) -> dm_env.TimeStep:
    """The FIRST of an episode in every lane; see `make_timestep`."""
    nothing = np.zeros(len(observation), bool)
    return make_timestep(
        name,
        observation,
        nothing,
        terminated=nothing,
        truncated=nothing,
        is_first=np.ones(len(observation), bool),
    )


def lane_seed(seed: int, lane: int, count: int = 0) -> int:
    """The seed of one lane's `count`-th seeding, in [0, 2**31), whatever the number of lanes."""
    sequence = np.random.SeedSequence(seed, spawn_key=(lane, count))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)


def make(config: Mapping[str, Any], num_envs: int, seed: int) -> VectorEnvironment:
    """Builds the environment `envs/<config.module>.py` describes.

    Args:
      config: the `environment` section; `module` names the file, the other keys are its own.
      num_envs: number of lanes N.
      seed: lane i starts from a seed derived from (seed, i) alone, whatever N is.

    Raises:
      ConfigError: if a key is unknown or a value out of range.
    """
    return find_module(config).make(complete(config), num_envs, seed)


def make_filmed(config: Mapping[str, Any], seed: int) -> Filmed:
    """Builds an environment of one lane as `make` does, with its screen.

    Raises:
      ConfigError: as `make` does, and if the environment has no screen.
    """
    module = find_module(config)
    if not hasattr(module, "make_filmed"):
        raise checks.ConfigError(
            f"environment.module = {config['module']!r}: has no screen to film"
        )
    return module.make_filmed(complete(config), seed)


def complete(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section with the defaults of keys that are younger than the run it comes from."""
    module = find_module(config)
    defaults = module.default_config() if hasattr(module, "default_config") else {}
    missing = {key: defaults[key] for key in defaults if key not in config}
    return {**config, **missing} if missing else config


def task_config(config: Any, task: int) -> Any:
    """The `environment` section of one task alone: of a sequence, or `config` itself."""
    module = find_module(config)
    return module.task_config(config, task) if hasattr(module, "task_config") else config


def task_name(config: Any) -> str:
    """What an environment of one task is known by: its game, gymnasium id or probe."""
    names = (str(config[key]) for key in ("game", "id", "probe") if key in config)
    return next(names, str(config["module"]))


def frames_per_step(config: Mapping[str, Any]) -> int:
    """Emulator frames of an agent step, told without building the environment."""
    return getattr(find_module(config), "FRAME_SKIP", 1)


def find_module(config: Mapping[str, Any]) -> ModuleType:
    """Imports `envs/<config.module>.py`; raises ConfigError if there is none with a `make`."""
    return plugins.find("envs", config["module"], "environment.module")

"""The environment contract: N environments stepped together, in dm_env's terms."""

import abc
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import dm_env
import numpy as np
from dm_env import specs

from core import checks, finite, plugins, settings


class Episode(NamedTuple):
    """A finished episode: its environment, unclipped return and length in emulator frames.

    The length is the number of agent steps after the FIRST times `frames_per_step`.
    """

    env_id: int
    episode_return: float
    length_frames: int


class VectorEnvironment(abc.ABC):
    """N environments stepped together; every field of a TimeStep has a leading axis [N].

    The sequence of each is dm_env's: the step after a LAST ignores its action and returns the
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
    """Whether set_state continues exactly; if not, it starts new episodes in every environment."""
    task: int = 0
    """Which task of a sequence the next step belongs to; 0 where there is only one."""

    @abc.abstractmethod
    def observation_spec(self) -> specs.Array:
        """One environment's observation, without the leading axis."""

    @abc.abstractmethod
    def action_spec(self) -> specs.DiscreteArray:
        """One environment's action."""

    @abc.abstractmethod
    def reset(self) -> dm_env.TimeStep:
        """Starts an episode in every environment."""

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

        The caller may keep the arrays but not change them: later steps fill others.

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

    @abc.abstractmethod
    def check_ready(self, call: str) -> None:
        """Checks that there is a time step and that no step is under way.

        Args:
          call: the call about to be made, for the message.

        Raises:
          RuntimeError: before `reset` or `set_state`, or between a `send` and its `recv`.
        """

    def next_task(self) -> dm_env.TimeStep:
        """Moves to the next task of a sequence; the current step becomes a LAST.

        The next step ignores its actions and returns the FIRST of the next task everywhere.

        Returns:
          The current step: LAST everywhere, a truncation unless the episode ended on it anyway.

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
          ValueError: if the state was taken from an environment with other settings.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the emulators; the instance can't be used afterwards.

        May be called while a step is under way, and more than once.
        """


class Settings(Protocol):
    """The parsed section `environment`: a dataclass of the module that it names.

    Besides `Settings`, such a module has the functions `make(settings, num_envs, seed)`,
    `frames_per_step(settings)` and `task_name(settings)`; `make_filmed(settings, seed)` if it has a
    screen; and for a sequence `tasks(settings)` and the constant `FRAMES_PER_TASK`, the name of the
    key for the tasks' length.
    """

    @property
    def module(self) -> str:
        """The module's name."""
        ...


class Filmed(NamedTuple):
    """A single environment, and what a person would see while it plays.

    Attributes:
      environment: as `make` builds it.
      screen: maps the last step's actions [1], or None after the reset, to what is seen now:
        uint8 [H, W, 3].
      frames_per_second: the rate that looks natural, one screen per step.
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
    """One step of every environment in the terms and types of the contract: see VectorEnvironment.

    Args:
      name: of the environment, for errors.
      observation: [N, ...], of the spec's type.
      reward: of the game [N], of any type.
      terminated: whether the step ends the environment's episode for good: bool [N].
      truncated: whether it truncates it: bool [N].
      is_first: whether it starts one: bool [N].
      discount: of steps that are neither the first nor terminal, [N] or one for all.

    Raises:
      NotFiniteError: if a reward or an observation is not finite in float32.
    """
    with np.errstate(over="ignore"):
        reward = np.where(is_first, 0, reward).astype(np.float32)
    finite.check(f"reward of {name}, environment", reward)
    finite.check(f"observation of {name}, environment and element", observation)
    return dm_env.TimeStep(
        # FIRST 0, MID 1, LAST 2
        step_type=np.int32(1) + np.logical_or(terminated, truncated) - np.asarray(is_first),
        reward=reward,
        discount=np.where(np.logical_or(terminated, is_first), 0, discount).astype(np.float32),
        observation=observation,
    )


def make_first(name: str, observation: np.ndarray) -> dm_env.TimeStep:
    """The FIRST of an episode in every environment; see `make_timestep`."""
    nothing = np.zeros(len(observation), bool)
    return make_timestep(
        name,
        observation,
        nothing,
        terminated=nothing,
        truncated=nothing,
        is_first=np.ones(len(observation), bool),
    )


def environment_seed(seed: int, env_id: int, count: int = 0) -> int:
    """The seed of an environment's `count`-th seeding, in [0, 2**31), however many there are."""
    sequence = np.random.SeedSequence(seed, spawn_key=(env_id, count))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)


def make(chosen: Settings, num_envs: int, seed: int) -> VectorEnvironment:
    """Builds the environment that `envs/<module>.py` describes.

    Args:
      chosen: the parsed section `environment`.
      num_envs: number of environments N.
      seed: environment i starts from a seed derived from (seed, i) alone, whatever N is.

    Raises:
      ConfigError: if the settings don't fit each other, or something is not installed.
    """
    return _module(chosen).make(chosen, num_envs, seed)


def make_filmed(chosen: Settings, seed: int) -> Filmed:
    """Builds a single environment as `make` does, with its screen.

    Raises:
      ConfigError: as `make` does, and if the environment has no screen.
    """
    module = _module(chosen)
    if not hasattr(module, "make_filmed"):
        raise checks.ConfigError(f"environment.module = {chosen.module!r}: has no screen to film")
    return module.make_filmed(chosen, seed)


def make_specs(chosen: Settings) -> tuple[specs.Array, specs.DiscreteArray]:
    """One environment's newest observation, and its action."""
    environment = make(chosen, 1, 0)
    try:
        return environment.observation_spec(), environment.action_spec()
    finally:
        environment.close()


def frames_per_step(chosen: Settings) -> int:
    """Emulator frames per agent step, without building the environment."""
    return _module(chosen).frames_per_step(chosen)


def task_name(chosen: Settings) -> str:
    """What an environment is known by: its game, gymnasium id or probe."""
    return _module(chosen).task_name(chosen)


def is_sequence(chosen: Settings) -> bool:
    """Whether it is a sequence of tasks."""
    return hasattr(_module(chosen), "tasks")


def tasks(chosen: Settings) -> tuple[Settings, ...]:
    """Each task's own settings: a sequence's in order, or the environment's."""
    return _module(chosen).tasks(chosen) if is_sequence(chosen) else (chosen,)


def task(chosen: Settings, number: int) -> Settings:
    """The settings of one task alone.

    Args:
      chosen: of the environment.
      number: the task's, from 0; it goes on counting when a sequence repeats.
    """
    found = tasks(chosen)
    return found[number % len(found)]


def is_functional(chosen: Settings) -> bool:
    """Whether it is made of pure functions (envs/functional/)."""
    return getattr(_module(chosen), "IS_FUNCTIONAL", False)


def meaning_of_rewards(chosen: Settings) -> str:
    """`rewards`, whose sum is a return; or `labels` or `targets` of supervised learning."""
    return getattr(_module(tasks(chosen)[0]), "REWARDS_ARE", "rewards")


def check_returns(chosen: Settings, asked: str) -> None:
    """Raises ConfigError for an environment whose rewards say nothing of how an agent plays.

    Args:
      chosen: its settings.
      asked: what asks for returns, for the message.
    """
    meaning = meaning_of_rewards(chosen)
    if meaning != "rewards":
        raise checks.ConfigError(
            f"{asked}: expected no evaluation, as the rewards of environment.module = "
            f"{chosen.module!r} are {meaning}, which make no return"
        )


def frames_per_task(chosen: Settings) -> int:
    """Frames of one seed in each task of a sequence; 0 where there is only one task."""
    return getattr(chosen, _module(chosen).FRAMES_PER_TASK) if is_sequence(chosen) else 0


def frames_per_task_key(chosen: Settings) -> str:
    """The key for a sequence's frames per task, for messages."""
    return f"environment.{_module(chosen).FRAMES_PER_TASK}"


def parse(section: Any, path: str = "environment") -> Settings:
    """The settings of a section; raises ConfigError for an unknown module, key or value."""
    module = settings.find_plugin("envs", path, section)
    with checks.renamed("environment", path):
        return settings.parse(module.Settings, section, path)


def parse_listed(section: Any, path: str) -> Settings:
    """The same for a section in a list: keys that it leaves out have their defaults."""
    module = settings.find_plugin("envs", path, section)
    return parse(settings.complete(module.Settings, section), path)


def parse_recorded(section: Mapping[str, Any]) -> Settings:
    """The settings of an earlier version's section, with defaults for keys that it lacks."""
    module = settings.find_plugin("envs", "environment", section)
    return settings.parse(module.Settings, _completed(section), "environment")


def _completed(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section with defaults for what it lacks, and so the sections of environments in it."""
    module = settings.find_plugin("envs", "environment", section)
    defaults = settings.to_config(module.Settings()).to_dict()
    return {key: _complete(section.get(key, default)) for key, default in defaults.items()}


def _complete(value: Any) -> Any:
    if isinstance(value, Mapping) and "module" in value:
        return _completed(value)
    return [_complete(x) for x in value] if isinstance(value, (list, tuple)) else value


def _module(chosen: Settings) -> ModuleType:
    return plugins.find("envs", chosen.module, "environment.module")

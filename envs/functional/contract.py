"""What an environment of pure functions consists of, and how it is stepped as dm_env says.

All functions are of one environment; callers map them over several.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from dm_env import specs

from core import checks

TASK = checks.integer(0, 2**32 - 1)
"""What a key `task` may be whose parameters are drawn by it: NumPy takes no larger seed."""


class Stepped(NamedTuple):
    """Result of a step.

    Attributes:
      state: after it.
      reward: float32 [].
      is_terminal: bool [], whether the episode ends for good.
      is_truncated: bool [], whether it is cut.
    """

    state: Any
    reward: jax.Array
    is_terminal: jax.Array
    is_truncated: jax.Array


class Dynamics(NamedTuple):
    """An environment. Two tasks of a sequence differ in `parameters` alone.

    Attributes:
      observation_spec: of what an agent sees.
      num_actions: A.
      begin: (parameters, rng) -> the state that an episode begins with, a tree of arrays.
      step: (parameters, state, action int32 [], rng) -> Stepped.
      observe: (parameters, state) -> observation.
      expected_reward: (parameters, state, action) -> float32 [], of that action there; None if it
        is not known without a step.
    """

    observation_spec: specs.Array
    num_actions: int
    begin: Callable[[Any, jax.Array], Any]
    step: Callable[[Any, Any, jax.Array, jax.Array], Stepped]
    observe: Callable[[Any, Any], jax.Array]
    expected_reward: Callable[[Any, Any, jax.Array], jax.Array] | None = None


class Running(NamedTuple):
    """An environment that is being played.

    Attributes:
      state: of the dynamics.
      rng: a typed key.
      is_last: bool [], whether the episode is over, so that the next step begins another.
      episode_return: float32 [], of the episode so far.
      episode_steps: int32 [], since its beginning.
    """

    state: Any
    rng: jax.Array
    is_last: jax.Array
    episode_return: jax.Array
    episode_steps: jax.Array


class Output(NamedTuple):
    """A time step; see envs.base.VectorEnvironment."""

    observation: jax.Array
    is_first: jax.Array
    is_terminal: jax.Array
    is_truncated: jax.Array
    reward: jax.Array

    @property
    def is_last(self) -> jax.Array:
        """Whether the episode ends here."""
        return self.is_terminal | self.is_truncated

    @property
    def discount(self) -> jax.Array:
        """0 at the first step and at a terminal one, else 1: float32."""
        return jnp.where(self.is_first | self.is_terminal, 0.0, 1.0)


def start(dynamics: Dynamics, parameters: Any, rng: jax.Array) -> tuple[Running, Output]:
    """The first episode."""
    rng, rng_begin = jax.random.split(rng)
    running = Running(
        state=dynamics.begin(parameters, rng_begin),
        rng=rng,
        is_last=jnp.zeros((), bool),
        episode_return=jnp.zeros(()),
        episode_steps=jnp.zeros((), jnp.int32),
    )
    return running, _first(dynamics, parameters, running)


def restart(dynamics: Dynamics, parameters: Any, running: Running) -> tuple[Running, Output]:
    """The next episode, at once."""
    return start(dynamics, parameters, running.rng)


def advance(
    dynamics: Dynamics, parameters: Any, running: Running, action: jax.Array
) -> tuple[Running, Output]:
    """A step, or after the end of an episode the first one of the next, without a look at `action`.

    Args:
      dynamics: of the environment.
      parameters: of the task.
      running: where it is.
      action: int32 [].
    """
    rng, rng_step, rng_begin = jax.random.split(running.rng, 3)
    is_first = running.is_last
    stepped = dynamics.step(parameters, running.state, action, rng_step)
    begun = dynamics.begin(parameters, rng_begin)
    state = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), begun, stepped.state)
    reward = jnp.where(is_first, 0.0, stepped.reward)
    is_terminal = stepped.is_terminal & ~is_first
    is_truncated = stepped.is_truncated & ~is_first
    after = Running(
        state=state,
        rng=rng,
        is_last=is_terminal | is_truncated,
        episode_return=jnp.where(is_first, 0.0, running.episode_return + reward),
        episode_steps=jnp.where(is_first, 0, running.episode_steps + 1),
    )
    observation = dynamics.observe(parameters, state)
    return after, Output(observation, is_first, is_terminal, is_truncated, reward)


def _first(dynamics: Dynamics, parameters: Any, running: Running) -> Output:
    nothing = jnp.zeros((), bool)
    observation = dynamics.observe(parameters, running.state)
    return Output(observation, ~nothing, nothing, nothing, jnp.zeros(()))

"""CartPole as pure functions: gymnasium's CartPole-v1, whose observations a task may shift.

A task's shift is the same for all observations, drawn from N(0, `shift`^2) for each of the four
numbers; task 0 has none. After the continual CartPole of Muppidi et al. 2024 (arXiv 2405.16642).
The shifts depend on `task` alone: all runs meet the same. gymnasium computes in float64.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from core import checks, settings
from envs.functional import contract, vector

_GRAVITY, _CART, _POLE, _HALF_LENGTH = 9.8, 1.0, 0.1, 0.5
_FORCE, _SECONDS = 10.0, 0.02
_MOST_POSITION, _MOST_ANGLE = 2.4, 12 * 2 * np.pi / 360
_START = 0.05
# Apart from the seeds of runs.
_TASK_SEED = 20_240_516


IS_FUNCTIONAL = True
frames_per_step = vector.frames_per_step


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment`."""

    module: str = settings.key("cartpole", checks.one_of("cartpole"), "this environment")
    task: int = settings.key(0, contract.TASK, "which shift; 0: none")
    shift: float = settings.key(
        2.0, checks.number(0), "standard deviation of the shifts", "Muppidi et al. 2024"
    )
    max_steps: int = settings.key(500, checks.integer(1), "of an episode", "gymnasium")


def make(chosen: Settings, num_envs: int, seed: int) -> vector.FunctionalVector:
    """Builds the environment; see `envs.base.make`."""
    return vector.single(task_name, dynamics, parameters_of, chosen, num_envs, seed)


def task_name(chosen: Settings) -> str:
    """With the number of the task."""
    return f"cartpole_{chosen.task}"


def dynamics(chosen: Settings) -> contract.Dynamics:
    """Of every task; see `parameters_of`."""
    del chosen
    return contract.Dynamics(
        observation_spec=specs.Array((4,), np.float32, name="observation"),
        num_actions=2,
        begin=_begin,
        step=_step,
        observe=lambda parameters, state: state["numbers"] + parameters["shift"],
    )


def parameters_of(chosen: Settings) -> dict[str, jax.Array]:
    """The shift [4], and the length of an episode."""
    random = np.random.RandomState([_TASK_SEED, chosen.task])
    shift = chosen.shift * random.normal(size=4) if chosen.task else np.zeros(4)
    return {"shift": jnp.asarray(shift, jnp.float32), "max_steps": jnp.int32(chosen.max_steps)}


def _begin(parameters: Any, rng: jax.Array) -> dict[str, jax.Array]:
    del parameters
    numbers = jax.random.uniform(rng, (4,), minval=-_START, maxval=_START)
    return {"numbers": numbers, "steps": jnp.zeros((), jnp.int32)}


def _step(parameters: Any, state: Any, action: jax.Array, rng: jax.Array) -> contract.Stepped:
    del rng
    numbers, steps = move(state["numbers"], action), state["steps"] + 1
    position, _, angle, _ = numbers
    has_fallen = (jnp.abs(position) > _MOST_POSITION) | (jnp.abs(angle) > _MOST_ANGLE)
    return contract.Stepped(
        state={"numbers": numbers, "steps": steps},
        reward=jnp.ones(()),
        is_terminal=has_fallen,
        is_truncated=steps >= parameters["max_steps"],
    )


def move(numbers: jax.Array, action: jax.Array) -> jax.Array:
    """Position, speed, angle and its speed [4] one fiftieth of a second later, by Euler's method.

    Equations of Barto, Sutton & Anderson 1983 without friction, as gymnasium has them.
    """
    _, speed, angle, turning = numbers
    force = jnp.where(action == 1, _FORCE, -_FORCE)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    total = _CART + _POLE
    push = (force + _POLE * _HALF_LENGTH * jnp.square(turning) * sine) / total
    angular = (_GRAVITY * sine - cosine * push) / (
        _HALF_LENGTH * (4.0 / 3.0 - _POLE * jnp.square(cosine) / total)
    )
    acceleration = push - _POLE * _HALF_LENGTH * angular * cosine / total
    changes = jnp.stack([speed, acceleration, turning, angular])
    return numbers + _SECONDS * changes

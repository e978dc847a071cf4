"""A regression problem that changes slowly (Dohare et al. 2024, Loss of plasticity in deep
continual learning, reimplemented), as an environment.

An observation is a vector of bits: `slow_bits` of which one, drawn anew, flips with each task;
others that are drawn at each step; and a 1. The reward of the next step is what a fixed network of
100 threshold units makes of it, whatever the action was: a learner that is too small for that
network has to follow the slow bits. In a task_stream all runs meet the same flips.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from core import checks, settings
from envs.functional import contract, vector

_UNITS = 100
# A unit is on if so many of its inputs are as it wants them.
_SHARE = 0.7
# Apart from the seeds of runs.
_SEED = 20_240_823

IS_FUNCTIONAL = True
REWARDS_ARE = "targets"
frames_per_step = vector.frames_per_step


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment`."""

    module: str = settings.key(
        "slow_regression", checks.one_of("slow_regression"), "this environment"
    )
    bits: int = settings.key(20, checks.integer(1), "of an observation, without the 1", "Dohare")
    slow_bits: int = settings.key(
        15, checks.integer(1), "of them that change with the task alone", "Dohare et al. 2024"
    )
    episode_steps: int = settings.key(
        0, checks.integer(0), "until an episode is cut, after which a step has no target; 0: never"
    )
    task: int = settings.key(0, checks.integer(0), "how many times one of them has flipped")

    def __post_init__(self):
        """Raises ConfigError for more slow bits than there are."""
        if self.slow_bits > self.bits:
            raise checks.ConfigError(
                f"environment.slow_bits = {self.slow_bits}: expected at most bits = {self.bits}"
            )


def make(chosen: Settings, num_envs: int, seed: int) -> vector.FunctionalVector:
    """Builds the environment; see `envs.base.make`."""
    return vector.single(task_name, dynamics, parameters_of, chosen, num_envs, seed)


def task_name(chosen: Settings) -> str:
    """The number of flips."""
    return f"slow_regression_{chosen.task}"


def dynamics(chosen: Settings) -> contract.Dynamics:
    """Of every task; see `parameters_of`. There is one action, which does nothing."""
    num_fast = chosen.bits - chosen.slow_bits

    def begin(parameters: Any, rng: jax.Array) -> dict[str, jax.Array]:
        fast = jax.random.bernoulli(rng, shape=(num_fast,)).astype(jnp.float32)
        return {"fast": fast, "steps": jnp.zeros((), jnp.int32)}

    def observe(parameters: Any, state: Any) -> jax.Array:
        return jnp.concatenate([parameters["slow"], state["fast"], jnp.ones(1)])

    def step(parameters: Any, state: Any, action: jax.Array, rng: jax.Array) -> contract.Stepped:
        del action
        steps = state["steps"] + 1
        return contract.Stepped(
            state={**begin(parameters, rng), "steps": steps},
            reward=target(parameters, observe(parameters, state)),
            is_terminal=jnp.zeros((), bool),
            is_truncated=steps == chosen.episode_steps,
        )

    return contract.Dynamics(
        observation_spec=specs.Array((chosen.bits + 1,), np.float32, name="observation"),
        num_actions=1,
        begin=begin,
        step=step,
        observe=observe,
    )


def parameters_of(chosen: Settings) -> dict[str, Any]:
    """Of a task: `slow` bits, and the weights [bits + 1, 100] and [100] of the target network."""
    # The weights come first, as the number of flips differs.
    random = np.random.RandomState(_SEED)
    inputs = random.choice([-1.0, 1.0], size=(chosen.bits + 1, _UNITS))
    outputs = random.choice([-1.0, 1.0], size=_UNITS)
    slow = random.randint(2, size=chosen.slow_bits)
    flips = random.randint(chosen.slow_bits, size=chosen.task)
    slow = (slow + np.bincount(flips, minlength=chosen.slow_bits)) % 2
    found = {"slow": slow, "inputs": inputs, "outputs": outputs}
    return {name: jnp.asarray(x, jnp.float32) for name, x in found.items()}


def target(parameters: Any, bits: jax.Array) -> jax.Array:
    """The target network's output, float32 [], for bits [bits + 1]."""
    inputs = parameters["inputs"]
    thresholds = _SHARE * inputs.shape[0] - jnp.sum(inputs < 0, axis=0)
    is_on = bits @ inputs > thresholds
    return jnp.sum(jnp.where(is_on, parameters["outputs"], 0.0))

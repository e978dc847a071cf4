"""Choosing actions for all lanes of an environment at once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from training.learning import learner as learner_lib

Choose = Callable[[Any, jax.Array, jax.Array], jax.Array]


def clip_rewards(rewards: np.ndarray, max_abs_reward: float) -> np.ndarray:
    """The rewards of a time step as the learner shall see them, float32 as they are.

    In one process and in actors alike, before they reach a replay; evaluations are unclipped.
    """
    return np.clip(rewards, -np.float32(max_abs_reward), np.float32(max_abs_reward))


def make_act(choose: Choose, frame_stack: int) -> Callable[..., tuple[jax.Array, ...]]:
    """Builds the step from newest observations to actions, jitted.

    Args:
      choose: (params, rng, observations [N, ...]) -> actions int32 [N]: of an agent.
      frame_stack: how many frames an observation of the agent has; 0: observations are no frames.

    Returns:
      (params, rng, stack, newest observations [N, ...], is_first [N]) -> rng, stack, actions.
    """

    def act(params, rng, stack, observation, is_first):
        rng, rng_act = jax.random.split(rng)
        stack = learner_lib.push(stack, observation, is_first, frame_stack)
        return rng, stack, choose(params, rng_act, stack)

    return jax.jit(act)

"""Choosing actions for all lanes of an environment at once."""

from collections.abc import Callable
from typing import Any

import jax

from training import learner as learner_lib

Choose = Callable[[Any, jax.Array, jax.Array], jax.Array]


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

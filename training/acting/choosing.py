"""Choosing actions for all environments at once."""

from collections.abc import Callable

import jax
import numpy as np

from agents import base as agents_base
from training.learning import replay_learner


def clip_rewards(rewards: np.ndarray, max_abs_reward: float) -> np.ndarray:
    """The rewards of a time step as the learner sees them; they stay float32.

    Used in one process and in actors, before a replay sees them; evaluations are unclipped.

    Args:
      rewards: [N].
      max_abs_reward: bound to clip them to; 0: no clipping.
    """
    if not max_abs_reward:
        return rewards
    return np.clip(rewards, -np.float32(max_abs_reward), np.float32(max_abs_reward))


def make_act(
    agent: agents_base.Agent, mode: agents_base.Mode, frame_stack: int
) -> Callable[..., tuple[jax.Array, ...]]:
    """Builds the step from newest observations to actions, jitted.

    Args:
      agent: who acts.
      mode: training or evaluation.
      frame_stack: frames in an observation of the agent; 0: observations are not frames.

    Returns:
      (params, rng, stack, newest observations [N, ...], is_first [N], agent steps so far []) ->
      rng, stack, actions.
    """

    def act(params, rng, stack, observation, is_first, steps):
        rng, rng_act = jax.random.split(rng)
        stack = replay_learner.push(stack, observation, is_first, frame_stack)
        return rng, stack, agent.act(params, rng_act, stack, steps, mode)

    return jax.jit(act)

"""How far an agent's values lie above the returns that follow (van Hasselt et al. 2016)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import base as agents_base
from envs import base as envs_base
from training.acting import choosing, policy
from training.learning import replay_learner
from training.system import stopping


class Overestimation(NamedTuple):
    """Means over the states of whole episodes.

    Attributes:
      value: of the actions taken, as the network has it.
      discounted_return: from there on, of rewards as the agent learns from them.
      states: how many.
      episodes: in how many; those that were cut are left out, as their return is not known.
    """

    value: float
    discounted_return: float
    states: int
    episodes: int

    @property
    def difference(self) -> float:
        """The value over the return: above 0 if it is overestimated."""
        return self.value - self.discounted_return


class Functions(NamedTuple):
    """Compiled once for any parameters of an agent.

    Attributes:
      act: see choosing.make_act.
      value_of: (params, rng, stacks [N, ...], actions [N]) -> values [N].
    """

    act: Callable[..., Any]
    value_of: Callable[..., jax.Array]


def make(player: policy.Policy) -> Functions:
    """Builds the functions of a policy's agent."""

    def value_of(params, rng, stack, actions):
        values = agents_base.action_values(player.agent.apply(params, rng, stack))
        return jnp.take_along_axis(values, actions[:, None], axis=1)[:, 0]

    frame_stack = player.settings.transition.frame_stack
    act = choosing.make_act(player.agent, "evaluation", frame_stack)
    return Functions(act, jax.jit(value_of))


def measure(
    player: policy.Policy,
    functions: Functions,
    num_episodes: int,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> Overestimation:
    """Plays one episode in each of `num_episodes` environments, as in evaluations.

    Args:
      player: whose parameters are used.
      functions: of its agent, or of another with the same settings.
      num_episodes: how many.
      seed: of environments and noise.
      stop: whether to give up; asked before every step.

    Raises:
      stopping.Stopped: `stop` said so.
    """
    environment = envs_base.make(player.environment, num_episodes, seed)
    try:
        values, rewards, discounts, is_playing, has_ended = _play(
            player, functions, environment, seed, stop
        )
    finally:
        environment.close()
    returns = discounted_returns(rewards, discounts)
    counted = is_playing & has_ended[None]
    if not counted.any():
        return Overestimation(float("nan"), float("nan"), 0, 0)
    return Overestimation(
        float(values[counted].mean()),
        float(returns[counted].mean()),
        int(counted.sum()),
        int(has_ended.sum()),
    )


def discounted_returns(rewards: np.ndarray, discounts: np.ndarray) -> np.ndarray:
    """Returns [T, N] of what follows each step: G_t = r_t + discount_t G_(t+1).

    Args:
      rewards: after each step's action, 0 after an episode's end, [T, N].
      discounts: with gamma, 0 at a termination, [T, N].
    """
    returns = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for t in range(len(rewards) - 1, -1, -1):
        following = rewards[t] + discounts[t] * following
        returns[t] = following
    return returns


def _play(
    player: policy.Policy,
    functions: Functions,
    environment: envs_base.VectorEnvironment,
    seed: int,
    stop: Callable[[], bool],
) -> tuple[np.ndarray, ...]:
    """Values, rewards, discounts and whether an episode goes on [T, N]; whether it ended [N]."""
    settings = player.settings
    frame_stack, gamma = settings.transition.frame_stack, settings.transition.discount
    most = settings.evaluation.max_episode_frames // environment.frames_per_step
    timestep = environment.reset()
    stack = replay_learner.empty_stack(jnp.asarray(timestep.observation), frame_stack)
    rng, is_playing = jax.random.key(seed), np.ones(environment.num_envs, bool)
    has_ended = np.zeros(environment.num_envs, bool)
    steps: list[tuple[np.ndarray, ...]] = []
    while is_playing.any() and len(steps) < most:
        if stop():
            raise stopping.Stopped("asked to end during a measurement")
        rng, rng_value = jax.random.split(rng)
        is_first = np.asarray(timestep.first())
        rng, stack, actions = functions.act(
            player.params, rng, stack, timestep.observation, is_first, np.int32(0)
        )
        values = np.asarray(functions.value_of(player.params, rng_value, stack, actions))
        timestep = environment.step(np.asarray(actions))
        rewards = choosing.clip_rewards(timestep.reward, settings.transition.max_abs_reward)
        discounts = gamma * np.asarray(timestep.discount)
        # Of a later episode, which has begun while others play, nothing counts.
        steps.append((values, rewards * is_playing, discounts * is_playing, is_playing))
        ends = np.asarray(timestep.last()) & is_playing
        # A truncated episode's return is not known.
        has_ended |= ends & (np.asarray(timestep.discount) == 0)
        is_playing = is_playing & ~ends
    return (*(np.stack(column) for column in zip(*steps)), has_ended)

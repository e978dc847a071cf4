"""Data of an explorer that is rewarded for novelty alone (RND, Burda et al. 2018).

A network is trained to predict the output of another that never changes; where it fails, few
observations have been. An agent learns from that failure in place of the environment's rewards, as
in Berkeley's CS285, homework 5, whose data implicit Q-learning begins with.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents import base as agents_base
from core import types
from envs import base as envs_base
from replay import base as replay_base
from training import experiment, run_settings
from training.acting import choosing

_OUTPUTS, _HIDDEN, _LEARNING_RATE = 5, (400, 400), 1e-3


class NoveltyState(NamedTuple):
    """Parameters of the network that never changes and of the other, and its optimizer's state."""

    fixed: Any
    predictor: Any
    opt_state: Any


class Novelty:
    """How badly one network predicts another, for vectors."""

    def __init__(self):
        """Builds it, with the sizes of CS285."""
        self._network = hk.without_apply_rng(
            hk.transform(lambda x: hk.nets.MLP([*_HIDDEN, _OUTPUTS])(x))
        )
        self._optimizer = optax.adam(_LEARNING_RATE)

    def init(self, rng: jax.Array, observations: jax.Array) -> NoveltyState:
        """The state for observations like these [B, D]."""
        fixed, predictor = (self._network.init(key, observations) for key in jax.random.split(rng))
        return NoveltyState(fixed, predictor, self._optimizer.init(predictor))

    def errors(self, state: NoveltyState, observations: jax.Array) -> jax.Array:
        """Squared distances [B] of the two networks' outputs."""
        return self._errors(state.predictor, state.fixed, observations)

    def update(self, state: NoveltyState, observations: jax.Array) -> NoveltyState:
        """The state after a step that makes the mean error on these observations smaller."""
        loss = lambda p: jnp.mean(self._errors(p, state.fixed, observations))  # noqa: E731
        grads = jax.grad(loss)(state.predictor)
        updates, opt_state = self._optimizer.update(grads, state.opt_state)
        return NoveltyState(state.fixed, optax.apply_updates(state.predictor, updates), opt_state)

    def _errors(self, predictor: Any, fixed: Any, observations: jax.Array) -> jax.Array:
        difference = self._network.apply(predictor, observations) - self._network.apply(
            fixed, observations
        )
        return jnp.sum(jnp.square(difference), axis=-1)


def bonuses(errors: jax.Array) -> jax.Array:
    """Rewards [B]: the errors of a batch, of mean 0 and standard deviation 1 as in CS285."""
    return (errors - jnp.mean(errors)) / (jnp.std(errors) + 1e-8)


@dataclasses.dataclass(frozen=True)
class Explorer:
    """An agent and its novelty, which learn together from what was seen.

    Attributes:
      agent: of vectors, with one-step transitions.
      discount: gamma.
      novelty: see there.
    """

    agent: agents_base.Agent
    discount: float
    novelty: Novelty

    def update(
        self, state: types.TrainState, seen: NoveltyState, rng: jax.Array, batch: types.Transition
    ) -> tuple[types.TrainState, NoveltyState]:
        """Both after an update on a batch, whose rewards are not read."""
        rewards = bonuses(self.novelty.errors(seen, batch.s_t))
        discounts = self.discount * batch.discount_t
        batch = batch._replace(r_t=rewards, discount_t=discounts)
        updated = self.agent.update(state, rng, batch, jnp.ones_like(rewards))
        return updated.state, self.novelty.update(seen, batch.s_t)


def record(
    settings: run_settings.RunSettings, num_steps: int, seed: int, stop: Callable[[], bool]
) -> replay_base.Step | None:
    """Explores one environment; returns the steps [T, ...], or None if `stop` said so.

    The agent, its optimizer and its epsilon, the batch's size, and from how many steps on there is
    an update per step, are those of the settings. Rewards are the environment's own.
    """
    environment = envs_base.make(settings.environment, 1, seed)
    try:
        return _record(environment, settings, num_steps, seed, stop)
    finally:
        environment.close()


def _record(
    environment: envs_base.VectorEnvironment,
    settings: run_settings.RunSettings,
    num_steps: int,
    seed: int,
    stop: Callable[[], bool],
) -> replay_base.Step | None:
    observation, action = environment.observation_spec(), environment.action_spec()
    agent = experiment.make_agent(settings, observation, action)
    explorer = Explorer(agent, settings.transition.discount, Novelty())
    act = jax.jit(agent.act, static_argnums=4)
    update = jax.jit(explorer.update)
    random, rng = np.random.default_rng(seed), jax.random.key(seed)
    timestep = environment.reset()
    first = jnp.asarray(timestep.observation)
    state, seen = agent.init(rng, first), explorer.novelty.init(rng, first)
    memory = _Memory(num_steps, observation.shape)
    for step in range(num_steps):
        if stop():
            return None
        rng, rng_act, rng_update = jax.random.split(rng, 3)
        actions = act(state.params, rng_act, timestep.observation, jnp.int32(step), "training")
        reward = choosing.clip_rewards(timestep.reward, settings.transition.max_abs_reward)
        memory.add(timestep, reward, np.asarray(actions))
        if step >= settings.replay.min_size:
            batch = memory.sample(random, settings.replay.batch_size)
            state, seen = update(state, seen, rng_update, batch)
        timestep = environment.step(np.asarray(actions))
    return memory.steps


class _Memory:
    """Steps in their order, and transitions drawn uniformly from them."""

    def __init__(self, num_steps: int, shape: tuple[int, ...]):
        flags = lambda: np.zeros(num_steps, bool)  # noqa: E731
        numbers = lambda: np.zeros(num_steps, np.float32)  # noqa: E731
        columns: list[Any] = [
            np.zeros((num_steps, *shape), np.float32),
            *(flags(), flags()),
            *(numbers(), numbers()),
            np.zeros(num_steps, np.int32),
        ]
        self.steps = replay_base.Step(*columns)
        self._begins: list[int] = []
        self._size = 0

    def add(self, timestep: Any, reward: np.ndarray, action: np.ndarray) -> None:
        """Adds a time step of one environment, and the action chosen on it."""
        now = (
            timestep.observation,
            np.asarray(timestep.first()),
            np.asarray(timestep.last()),
            reward,
            timestep.discount,
            action,
        )
        for column, value in zip(self.steps, now):
            column[self._size] = value[0]
        if self._size and not self.steps.is_first[self._size]:
            self._begins.append(self._size - 1)
        self._size += 1

    def sample(self, random: np.random.Generator, size: int) -> types.Transition:
        """One-step transitions [size]."""
        rows = random.choice(self._begins, size)
        steps: Any = self.steps
        return types.Transition(
            s_tm1=steps.observation[rows],
            a_tm1=steps.action[rows],
            r_t=steps.reward[rows + 1],
            discount_t=steps.discount[rows + 1],
            s_t=steps.observation[rows + 1],
        )

"""Data of an explorer that is rewarded for novelty alone (RND, Burda et al. 2018).

A network is trained to predict the output of another that never changes; it predicts badly where
few observations were made. An agent learns from that error in place of the environment's rewards.
Sizes and the fixed network's N(0, 1) parameters are those of Berkeley's CS285, homework 5, whose
data implicit Q-learning begins with. The bonus, which the course leaves to its students, is ours:
the error on the observation that an action leads to, of mean 0 and deviation 1 in a batch.
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
from core import checks, finite, progress, types
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
        """Builds it."""
        normal = hk.initializers.RandomNormal()
        # With biases of 0 both outputs would be 0 at the origin, and the error grow away from it.
        self._fixed = _network(w_init=normal, b_init=normal)
        self._predictor = _network()
        self._optimizer = optax.adam(_LEARNING_RATE)

    def init(self, rng: jax.Array, observations: jax.Array) -> NoveltyState:
        """The state for observations like these [B, D]."""
        rng_fixed, rng_predictor = jax.random.split(rng)
        predictor = self._predictor.init(rng_predictor, observations)
        fixed = self._fixed.init(rng_fixed, observations)
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
        found = self._predictor.apply(predictor, observations)
        return jnp.sum(jnp.square(found - self._fixed.apply(fixed, observations)), axis=-1)


def _network(**initializers: Any) -> hk.Transformed:
    sizes = [*_HIDDEN, _OUTPUTS]
    return hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP(sizes, **initializers)(x)))


def bonuses(errors: jax.Array) -> jax.Array:
    """Rewards [B]: the errors of a batch, of mean 0 and standard deviation 1."""
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
    an update per step, are those of the settings. The rewards are the environment's, clipped as the
    settings say.

    Raises:
      ConfigError: if the settings are not of vectors and one-step transitions.
      NotFiniteError: if what chose the actions is not finite at the end.
    """
    _check(settings)
    environment = envs_base.make(settings.environment, 1, seed)
    try:
        return _record(environment, settings, num_steps, seed, stop)
    finally:
        environment.close()


def _check(settings: run_settings.RunSettings) -> None:
    spec, _ = envs_base.make_specs(settings.environment)
    found = (settings.transition.frame_stack, settings.transition.n_step, spec.dtype)
    if found != (0, 1, np.float32) or len(spec.shape) != 1:
        raise checks.ConfigError(
            "explore: expected an environment of vectors float32, transition.frame_stack = 0 and "
            f"transition.n_step = 1, found {spec.dtype}{list(spec.shape)}, {found[0]} and "
            f"{found[1]}"
        )


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
    rng, rng_agent, rng_novelty = jax.random.split(rng, 3)
    state, seen = agent.init(rng_agent, first), explorer.novelty.init(rng_novelty, first)
    memory = _Memory(num_steps, observation.shape)
    for step in progress.track(range(num_steps), "step"):
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
    for path, values in jax.tree_util.tree_leaves_with_path((state.params, seen.predictor)):
        finite.check(f"explorer{jax.tree_util.keystr(path)}", np.asarray(values))
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
        # Rows that a transition begins with, the first `_count` of them.
        self._begins = np.zeros(num_steps, np.int64)
        self._size = self._count = 0

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
            self._begins[self._count] = self._size - 1
            self._count += 1
        self._size += 1

    def sample(self, random: np.random.Generator, size: int) -> types.Transition:
        """One-step transitions [size]."""
        rows = self._begins[random.integers(self._count, size=size)]
        steps: Any = self.steps
        return types.Transition(
            s_tm1=steps.observation[rows],
            a_tm1=steps.action[rows],
            r_t=steps.reward[rows + 1],
            discount_t=steps.discount[rows + 1],
            s_t=steps.observation[rows + 1],
        )

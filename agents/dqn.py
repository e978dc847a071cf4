"""DQN (Mnih et al. 2015) as in DQN Zoo: the shortest agent, and a model for new ones.

One value for each action, a target network, epsilon decaying with agent steps, and uniform
replay. Before there is anything to learn from, actions are uniform.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import rlax

from agents import base, exploration, optimizers, value_based
from core import checks, settings
from networks import value_network

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `agent`."""

    module: str = settings.key("dqn", checks.one_of("dqn"), "this agent")
    loss: str = settings.key(
        "clipped",
        checks.one_of("clipped", "huber"),
        "of a temporal-difference error: half its square, whose gradient is clipped to "
        "max_td_gradient; or Huber's, which is linear beyond 1",
        "DQN Zoo",
    )
    max_td_gradient: float = settings.key(
        1 / 32, checks.number(0, open_low=True), "of the clipped loss", "DQN Zoo"
    )
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds DQN; see agents.base.make."""
    agent, head = sections.agent, sections.network.head
    network = value_network.make(sections.network, problem.num_actions, size=1)

    def init_params(rng: jax.Array, observations: jax.Array) -> base.Params:
        return network.init(rng, observations, False)

    def apply(params: base.Params, rng: jax.Array, observations: jax.Array) -> jax.Array:
        return network.apply(params, rng, observations, head.noise == "per_sample")[..., 0]

    def act(params, rng, observations, steps, mode) -> jax.Array:
        rng_noise, rng_epsilon = jax.random.split(rng)
        noise = head.acting_noise == "per_sample"
        q_values = network.apply(params, rng_noise, observations, noise)[..., 0]
        return exploration.epsilon_greedy(rng_epsilon, q_values, agent.epsilon.at(steps, mode))

    loss = make_loss(apply, agent)
    trainer = value_based.make_trainer(init_params, apply, loss, sections, problem)
    return value_based.make_agent(trainer, act)


def make_loss(apply: value_based.Apply, agent: Settings) -> value_based.Loss:
    """The weighted mean of the losses of temporal-difference errors."""

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_target = jax.random.split(rng)
        q_tm1 = apply(params, rng_tm1, transition.s_tm1)
        q_target = apply(target_params, rng_target, transition.s_t)
        errors = td_errors(q_tm1, transition.a_tm1, transition.r_t, transition.discount_t, q_target)
        losses = losses_of(errors, agent)
        chex.assert_equal_shape([losses, weights])
        metrics = {"q_value": jnp.mean(q_tm1), "td_loss": jnp.mean(losses)}
        return jnp.mean(losses * weights), value_based.LossOutput(None, metrics)

    return loss


def td_errors(
    q_tm1: jax.Array, a_tm1: jax.Array, r_t: jax.Array, discount_t: jax.Array, q_t: jax.Array
) -> jax.Array:
    """r_t + discount_t max_a q_t - q_tm1[a_tm1], [B], for q-values [B, A]."""
    batch_errors = jax.vmap(rlax.q_learning)
    return batch_errors(  # pyright: ignore[reportReturnType]  (rlax says Numeric)
        q_tm1, a_tm1, r_t, discount_t, q_t
    )


def losses_of(errors: jax.Array, agent: Settings) -> jax.Array:
    """The losses [B] of temporal-difference errors [B]."""
    # The annotations of rlax don't match its own values.
    if agent.loss == "huber":
        return rlax.huber_loss(errors)  # pyright: ignore[reportReturnType]
    bound = agent.max_td_gradient
    errors = rlax.clip_gradient(errors, -bound, bound)  # pyright: ignore[reportAssignmentType]
    return rlax.l2_loss(errors)  # pyright: ignore[reportReturnType]

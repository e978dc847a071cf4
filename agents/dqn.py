"""DQN (Mnih et al. 2015) as in DQN Zoo: the shortest agent, and a model for new ones.

One value for each action, a target network, epsilon decaying with agent steps, and uniform
replay. Before there is anything to learn from, actions are uniform.
"""

import dataclasses

import jax

from agents import base, exploration, optimizers, q_learning, soft_q, value_based
from core import checks, settings
from networks import value_network

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings(q_learning.LossSettings):
    """The section `agent`."""

    module: str = settings.key("dqn", checks.one_of("dqn"), "this agent")
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)
    munchausen: soft_q.MunchausenSettings = settings.section(soft_q.MunchausenSettings)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds DQN; see agents.base.make."""
    network = q_learning.make_network(sections, problem, size=1, read=lambda x: x[..., 0])
    loss = make_loss(network.apply, sections.agent)
    return q_learning.make_agent(network, loss, sections, problem)


def make_loss(apply: value_based.Apply, agent: Settings) -> value_based.Loss:
    """The weighted mean of the losses of temporal-difference errors."""

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_target = jax.random.split(rng)
        q_tm1 = apply(params, rng_tm1, transition.s_tm1)
        q_target = apply(target_params, rng_target, transition.s_t)
        if agent.munchausen.enabled:
            rng_policy = base.apart(rng, base.BONUS)
            policy = apply(target_params, rng_policy, transition.s_tm1)
            transition = soft_q.with_bonus(transition, policy, agent.munchausen)
            # One value, of which the largest is taken.
            temperature = agent.munchausen.temperature
            q_target = soft_q.soft_values(q_target, q_target, temperature)[:, None]
        errors = td_errors(q_tm1, transition.a_tm1, transition.r_t, transition.discount_t, q_target)
        return q_learning.mean_loss(q_learning.losses_of(errors, agent), weights, q_tm1)

    return loss


def td_errors(
    q_tm1: jax.Array, a_tm1: jax.Array, r_t: jax.Array, discount_t: jax.Array, q_t: jax.Array
) -> jax.Array:
    """r_t + discount_t max_a q_t - q_tm1[a_tm1], [B], for q-values [B, A]."""
    import rlax  # slow to import, and only learning needs it

    batch_errors = jax.vmap(rlax.q_learning)
    return batch_errors(  # pyright: ignore[reportReturnType]  (rlax says Numeric)
        q_tm1, a_tm1, r_t, discount_t, q_t
    )

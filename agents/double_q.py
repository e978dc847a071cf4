"""Double DQN (van Hasselt et al. 2016) as in DQN Zoo.

DQN whose target values the action that the online network would choose. It gives priorities, the
absolute errors, and learns from uniform replay as well.
"""

import dataclasses

import jax
import jax.numpy as jnp

from agents import base, exploration, optimizers, q_learning, value_based
from core import checks, settings, types
from networks import value_network

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings(q_learning.LossSettings):
    """The section `agent`."""

    module: str = settings.key("double_q", checks.one_of("double_q"), "this agent")
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds Double DQN; see agents.base.make."""
    network = q_learning.make_network(sections, problem, size=1, read=lambda x: x[..., 0])
    loss = make_loss(network.apply, sections.agent)
    return q_learning.make_agent(network, loss, sections, problem)


def make_loss(apply: value_based.Apply, agent: q_learning.LossSettings) -> value_based.Loss:
    """The weighted mean of the losses of errors, from three passes with independent noise."""

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_selector, rng_target = jax.random.split(rng, 3)
        q_tm1 = apply(params, rng_tm1, transition.s_tm1)
        selector = apply(jax.lax.stop_gradient(params), rng_selector, transition.s_t)
        q_target = apply(target_params, rng_target, transition.s_t)
        errors = td_errors(q_tm1, transition, q_target, selector)
        losses = q_learning.losses_of(errors, agent)
        return q_learning.mean_loss(losses, weights, q_tm1, jnp.abs(errors))

    return loss


def td_errors(
    q_tm1: jax.Array, transition: types.Transition, q_t: jax.Array, selector: jax.Array
) -> jax.Array:
    """r_t + discount_t q_t[argmax_a selector] - q_tm1[a_tm1], [B], for q-values [B, A]."""
    import rlax  # slow to import, and only learning needs it

    batch_errors = jax.vmap(rlax.double_q_learning)
    return batch_errors(  # pyright: ignore[reportReturnType]  (rlax says Numeric)
        q_tm1, transition.a_tm1, transition.r_t, transition.discount_t, q_t, selector
    )

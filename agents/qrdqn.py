"""QR-DQN (Dabney et al. 2018) as in DQN Zoo: quantiles of the return at fixed shares."""

import dataclasses

import jax
import jax.numpy as jnp

from agents import base, exploration, optimizers, q_learning, quantile_loss, value_based
from core import checks, settings
from networks import value_network
from networks.heads import quantiles

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings(quantile_loss.LossSettings):
    """The section `agent`."""

    module: str = settings.key("qrdqn", checks.one_of("qrdqn"), "this agent")
    num_quantiles: int = settings.key(
        201, checks.integer(1), "in the middle of as many equal shares", "DQN Zoo"
    )
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds QR-DQN; see agents.base.make."""
    num_quantiles = sections.agent.num_quantiles

    def read(values: jax.Array) -> quantiles.QuantileOutput:
        taus = jnp.tile(quantiles.midpoints(num_quantiles), (values.shape[0], 1))
        return quantiles.distribution(jnp.swapaxes(values, 1, 2), taus)

    network = q_learning.make_network(sections, problem, num_quantiles, read)
    loss = make_loss(network.apply, sections.agent)
    return q_learning.make_agent(network, loss, sections, problem)


def make_loss(apply: value_based.Apply, agent: Settings) -> value_based.Loss:
    """The weighted mean of quantile losses; the target network chooses the action itself."""

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_target = jax.random.split(rng)
        output = apply(params, rng_tm1, transition.s_tm1)
        target = apply(target_params, rng_target, transition.s_t)
        targets = quantile_loss.greedy_targets(transition, target, target.q_values)
        losses = quantile_loss.losses_of(output, transition.a_tm1, targets, agent.kappa)
        return q_learning.mean_loss(losses, weights, output, losses)

    return loss

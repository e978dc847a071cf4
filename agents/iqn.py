"""Implicit quantile networks (Dabney et al. 2018, arXiv 1806.06923) as in DQN Zoo.

The network gives the quantile at any share tau, and every pass draws its shares anew.
"""

import dataclasses
from typing import NamedTuple

import jax

from agents import (
    base,
    exploration,
    optimizers,
    q_learning,
    quantile_loss,
    soft_q,
    value_based,
)
from core import checks, settings, types
from networks import implicit_quantiles, value_network
from networks.heads import quantiles

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


def _samples(what: str) -> int:
    return settings.key(64, checks.integer(1), f"shares drawn for each row, {what}", "DQN Zoo")


@dataclasses.dataclass(frozen=True)
class Settings(quantile_loss.LossSettings):
    """The section `agent`."""

    module: str = settings.key("iqn", checks.one_of("iqn"), "this agent")
    tau_latent_size: int = settings.key(
        64, checks.integer(1), "cosines that a share is embedded by", "DQN Zoo"
    )
    tau_samples_policy: int = _samples("to choose actions, also the target's")
    tau_samples_tm1: int = _samples("of the value that learns")
    tau_samples_t: int = _samples("of its target")
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)
    munchausen: soft_q.MunchausenSettings = settings.section(soft_q.MunchausenSettings)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds IQN; see agents.base.make."""
    agent, head = sections.agent, sections.network.head
    made = implicit_quantiles.make(sections.network, problem.num_actions, agent.tau_latent_size)

    def init(rng: jax.Array, observations: jax.Array) -> base.Params:
        return made.init(rng, observations, _draw(rng, observations, 1), False)

    def with_samples(number: int, noise: str = head.noise) -> value_based.Apply:
        def apply(params, rng, observations) -> quantiles.QuantileOutput:
            rng_taus, rng_noise = jax.random.split(rng)
            taus = _draw(rng_taus, observations, number)
            values = made.apply(params, rng_noise, observations, taus, noise == "per_sample")
            return quantiles.distribution(values, taus)

        return apply

    policy = with_samples(agent.tau_samples_policy)
    acting = with_samples(agent.tau_samples_policy, head.acting_noise)
    passes = Passes(policy, *map(with_samples, (agent.tau_samples_tm1, agent.tau_samples_t)))
    network = q_learning.Network(init, policy, acting)
    return q_learning.make_agent(network, make_loss(passes, agent), sections, problem)


def _draw(rng: jax.Array, observations: jax.Array, number: int) -> jax.Array:
    """Uniform shares [B, number]."""
    return jax.random.uniform(rng, (observations.shape[0], number))


class Passes(NamedTuple):
    """The network, (params, rng, observations) -> QuantileOutput, by the number of its shares."""

    policy: value_based.Apply
    tm1: value_based.Apply
    t: value_based.Apply


def make_loss(passes: Passes, agent: Settings) -> value_based.Loss:
    """The weighted mean of quantile losses; the target network chooses by shares of their own."""

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_policy, rng_t = jax.random.split(rng, 3)
        output = passes.tm1(params, rng_tm1, transition.s_tm1)
        q_values = passes.policy(target_params, rng_policy, transition.s_t).q_values
        target = passes.t(target_params, rng_t, transition.s_t)
        targets = quantile_loss.greedy_targets(transition, target, q_values)
        if agent.munchausen.enabled:
            rng_bonus = base.apart(rng, base.BONUS)
            policy = passes.policy(target_params, rng_bonus, transition.s_tm1).q_values
            transition = soft_q.with_bonus(transition, policy, agent.munchausen)
            targets = soft_targets(transition, target, q_values, agent.munchausen.temperature)
        losses = quantile_loss.losses_of(output, transition.a_tm1, targets, agent.kappa)
        return q_learning.mean_loss(losses, weights, output, losses)

    return loss


def soft_targets(
    transition: types.Transition,
    target: quantiles.QuantileOutput,
    q_values: jax.Array,
    temperature: float,
) -> jax.Array:
    """r_t + discount_t times the policy's expectations of the target's quantiles, [B, N].

    Args:
      transition: the batch.
      target: at s_t.
      q_values: at s_t, [B, A]; they make the policy.
      temperature: of the policy.
    """
    values = soft_q.soft_values(target.quantiles, q_values[:, None], temperature)
    return transition.r_t[:, None] + transition.discount_t[:, None] * values

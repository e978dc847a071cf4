"""Munchausen Q-learning (Vieillard et al. 2020, arXiv 2007.14430): rewards for likely actions.

The policy is a softmax of the target network's q-values. A reward has a share of the logarithm of
its action's probability added, and the target is the policy's expectation, with entropy, in place
of the largest value. Of an n-step return the first action alone is rewarded.
"""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings, types


@dataclasses.dataclass(frozen=True)
class MunchausenSettings:
    """The section `agent.munchausen`."""

    enabled: bool = settings.key(False, checks.boolean(), "whether targets are Munchausen's")
    scale: float = settings.key(
        0.9, checks.number(0), "alpha, of what is added to a reward", "Vieillard et al. 2020"
    )
    temperature: float = settings.key(
        0.03, checks.number(0, open_low=True), "tau, of the policy", "Vieillard et al. 2020"
    )
    bound: float = settings.key(
        1.0,
        checks.number(0),
        "tau log pi, which is negative, is clipped to -bound before it is scaled",
        "Vieillard et al. 2020",
    )


def scaled_log_policy(q_values: jax.Array, temperature: float) -> jax.Array:
    """The product tau log pi of the policy softmax(q / tau), [..., A]."""
    return temperature * jax.nn.log_softmax(q_values / temperature, axis=-1)


def with_bonus(
    transition: types.Transition, q_values: jax.Array, chosen: MunchausenSettings
) -> types.Transition:
    """The transitions with alpha clip(tau log pi(a_tm1), -bound, 0) added to their rewards.

    Args:
      transition: the batch.
      q_values: the target network's at s_tm1, [B, A].
      chosen: the section.
    """
    log_policy = scaled_log_policy(q_values, chosen.temperature)
    of_actions = jax.vmap(lambda row, action: row[action])(log_policy, transition.a_tm1)
    bonus = chosen.scale * jnp.clip(of_actions, -chosen.bound, 0)
    return transition._replace(r_t=transition.r_t + bonus)


def soft_values(values: jax.Array, q_values: jax.Array, temperature: float) -> jax.Array:
    """The policy's expectations of values [..., A] - tau log pi, [...].

    Args:
      values: of the actions.
      q_values: that the policy is made of, as `values` or such that they broadcast.
      temperature: tau.
    """
    log_policy = scaled_log_policy(q_values, temperature)
    return jnp.sum(jnp.exp(log_policy / temperature) * (values - log_policy), axis=-1)

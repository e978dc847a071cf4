"""DQN whose values are learned by classification: two-hot targets or Gaussian ones (HL-Gauss).

Values are means of distributions over bins, and what is minimized is the cross-entropy to the
target value's probabilities, instead of a squared error. Unlike C51's, the distribution is not that
of the return. Source: Farebrother et al. 2024 (arXiv 2403.03950), "Stop regressing".
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from agents import base, exploration, optimizers, q_learning, value_based
from core import checks, settings
from networks import value_network
from networks.heads import c51, value_bins

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `agent`."""

    module: str = settings.key("classification", checks.one_of("classification"), "this agent")
    target: Literal["hl_gauss", "two_hot"] = settings.key(
        "hl_gauss",
        checks.one_of("hl_gauss", "two_hot"),
        "how a value becomes probabilities: a Gaussian around it, or its two nearest bins",
        "Farebrother et al. 2024",
    )
    num_bins: int = settings.key(51, checks.integer(2), "bins per value", "Farebrother et al. 2024")
    v_max: float = settings.key(
        10.0,
        checks.number(0, open_low=True),
        "the bins' centers reach from -v_max to it",
        "Farebrother et al. 2024",
    )
    sigma: float = settings.key(
        0.75,
        checks.number(0, open_low=True),
        "of the Gaussian, in widths of a bin",
        "Farebrother et al. 2024",
    )
    label_smoothing: float = settings.key(
        0.0, checks.number(0, 1), "share of the uniform distribution in a target"
    )
    double: bool = settings.key(
        False, checks.boolean(), "whether the online network chooses the target's action"
    )
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)

    @property
    def centers(self) -> jax.Array:
        """Of the bins, float32 [num_bins]."""
        return c51.support(self.v_max, self.num_bins)

    def probabilities(self, values: jax.Array) -> jax.Array:
        """What the bins are to be for values [B]: [B, num_bins]."""
        if self.target == "two_hot":
            found = value_bins.two_hot(values, self.centers)
        else:
            found = value_bins.hl_gauss(values, self.centers, self.sigma)
        return value_bins.smoothed(found, self.label_smoothing)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds it; see agents.base.make."""
    agent = sections.agent
    read = lambda logits: c51.distribution(logits, agent.centers)  # noqa: E731
    network = q_learning.make_network(sections, problem, agent.num_bins, read)
    loss = make_loss(network.apply, agent)
    return q_learning.make_agent(network, loss, sections, problem)


def make_loss(apply: value_based.Apply, agent: Settings) -> value_based.Loss:
    """The weighted mean of cross-entropies to r_t + discount_t q_t[the best action]."""

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_selector, rng_target = jax.random.split(rng, 3)
        output = apply(params, rng_tm1, transition.s_tm1)
        q_target = apply(target_params, rng_target, transition.s_t).q_values
        selector = q_target
        if agent.double:
            selector = apply(params, rng_selector, transition.s_t).q_values
        q_t = _of_actions(q_target, jnp.argmax(selector, axis=-1))
        targets = jax.lax.stop_gradient(transition.r_t + transition.discount_t * q_t)
        logits = _of_actions(output.q_logits, transition.a_tm1)
        losses = -jnp.sum(agent.probabilities(targets) * jax.nn.log_softmax(logits), axis=-1)
        errors = targets - _of_actions(output.q_values, transition.a_tm1)
        return q_learning.mean_loss(losses, weights, output, jnp.abs(errors))

    return loss


def _of_actions(values: jax.Array, actions: jax.Array) -> jax.Array:
    """From values [B, A, ...] those of actions [B], [B, ...]."""
    return jax.vmap(lambda row, action: row[action])(values, actions)

"""What agents have in common that have one network and act by its largest value.

An agent of this kind is a network, a loss, and an epsilon that decays: `make_network` and
`make_agent` do the rest.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from agents import base, exploration, value_based
from core import checks, settings
from networks import value_network


class Network(NamedTuple):
    """A network as an agent uses it.

    Attributes:
      init: (rng, observations [B, ...]) -> parameters.
      apply: (params, rng, observations) -> its output, with the noise of updates; q-values [B, A],
        or something that has them as `q_values`.
      acting: the same with the noise of acting.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    apply: value_based.Apply
    acting: value_based.Apply


def make_network(
    sections: base.Sections, problem: base.Problem, size: int, read: Callable[[jax.Array], Any]
) -> Network:
    """The network of `networks/value_network.py`.

    Args:
      sections: the agent's parts of the configuration.
      problem: what it learns.
      size: K, numbers for each action.
      read: the network's numbers [B, A, K] -> its output.
    """
    network, head = sections.network, sections.network.head
    made = value_network.make(network, problem.num_actions, size, sections.has_few_kernels)

    def with_noise(noise: str) -> value_based.Apply:
        return lambda params, rng, observations: read(
            made.apply(params, rng, observations, noise == "per_sample")
        )

    init = lambda rng, observations: made.init(rng, observations, False)  # noqa: E731
    return Network(init, with_noise(head.noise), with_noise(head.acting_noise))


def make_agent(
    network: Network, loss: value_based.Loss, sections: base.Sections, problem: base.Problem
) -> base.Agent:
    """The agent that learns by a loss and explores by `agent.epsilon`; see base.Agent.

    Args:
      network: of the agent.
      loss: of its updates.
      sections: its parts of the configuration.
      problem: what it learns.
    """

    def act(params, rng, observations, steps, mode) -> jax.Array:
        rng_noise, rng_epsilon = jax.random.split(rng)
        q_values = base.action_values(network.acting(params, rng_noise, observations))
        epsilon = sections.agent.epsilon.at(steps, mode)
        return exploration.epsilon_greedy(rng_epsilon, q_values, epsilon)

    trainer = value_based.make_trainer(network.init, network.apply, loss, sections, problem)
    return value_based.make_agent(trainer, act)


def mean_loss(
    losses: jax.Array, weights: jax.Array, output: Any, priorities: jax.Array | None = None
) -> tuple[jax.Array, value_based.LossOutput]:
    """The weighted mean of a batch's losses [B], with what is logged of them.

    Args:
      losses: of the transitions.
      weights: of the transitions, [B].
      output: the network's at s_tm1.
      priorities: for the transitions, [B], or None.
    """
    chex.assert_equal_shape([losses, weights])
    metrics = {"q_value": jnp.mean(base.action_values(output)), "td_loss": jnp.mean(losses)}
    return jnp.mean(losses * weights), value_based.LossOutput(priorities, metrics)


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """The keys of agents that learn from one temporal-difference error for each transition."""

    loss: str = settings.key(
        "clipped",
        checks.one_of("clipped", "squared", "huber"),
        "of a temporal-difference error: half its square, whose gradient is clipped to "
        "max_td_gradient; the same unclipped; or Huber's, which is linear beyond 1",
        "DQN Zoo",
    )
    max_td_gradient: float = settings.key(
        1 / 32, checks.number(0, open_low=True), "of the clipped loss", "DQN Zoo"
    )


def losses_of(errors: jax.Array, agent: LossSettings) -> jax.Array:
    """The losses [B] of temporal-difference errors [B]."""
    import rlax  # slow to import, and only learning needs it

    # The annotations of rlax don't match its own values.
    if agent.loss == "huber":
        return rlax.huber_loss(errors)  # pyright: ignore[reportReturnType]
    if agent.loss == "clipped":
        bound = agent.max_td_gradient
        errors = rlax.clip_gradient(errors, -bound, bound)  # pyright: ignore[reportAssignmentType]
    return rlax.l2_loss(errors)  # pyright: ignore[reportReturnType]

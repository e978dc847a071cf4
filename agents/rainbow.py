"""Rainbow (Hessel et al. 2018) as in DQN Zoo, optionally with a norm before every nonlinearity.

C51, double Q-learning, dueling streams, noisy networks, n-step returns and prioritized replay.
The last two are done by the replay; this file has the network's use, loss and acting.
"""

import dataclasses

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import rlax

from agents import base, exploration, optimizers, value_based
from core import checks, settings, types
from networks import value_network
from networks.heads import c51

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `agent`."""

    module: str = settings.key("rainbow", checks.one_of("rainbow"), "this agent")
    num_atoms: int = settings.key(
        51, checks.integer(2), "of the support of the return's distribution", "DQN Zoo"
    )
    v_max: float = settings.key(
        10.0, checks.number(0, open_low=True), "the support reaches from -v_max to it", "DQN Zoo"
    )
    exploration_epsilon: float = settings.key(
        0.0, checks.number(0, 1), "of uniform actions; the noisy network explores", "DQN Zoo"
    )
    evaluation_epsilon: float = settings.key(
        0.0, checks.number(0, 1), "of uniform actions in evaluations", "DQN Zoo"
    )
    evaluation_noise: bool = settings.key(
        True, checks.boolean(), "whether the network is noisy in evaluations, too", "DQN Zoo"
    )


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds Rainbow; see agents.base.make."""
    agent, head = sections.agent, sections.network.head
    network = value_network.make(sections.network, problem.num_actions, agent.num_atoms)

    def init_params(rng: jax.Array, observations: jax.Array) -> base.Params:
        return network.init(rng, observations, False)

    def output(params, rng, observations, noise) -> c51.C51Output:
        logits = network.apply(params, rng, observations, noise == "per_sample")
        return c51.distribution(logits, c51.support(agent.v_max, agent.num_atoms))

    def apply(params: base.Params, rng: jax.Array, observations: jax.Array) -> c51.C51Output:
        return output(params, rng, observations, head.noise)

    def act(params, rng, observations, steps, mode) -> jax.Array:
        del steps
        rng_noise, rng_epsilon = jax.random.split(rng)
        is_training = mode == "training"
        if not (is_training or agent.evaluation_noise):
            params = without_noise(params)
        q_values = output(params, rng_noise, observations, head.acting_noise).q_values
        epsilon = agent.exploration_epsilon if is_training else agent.evaluation_epsilon
        return exploration.epsilon_greedy(rng_epsilon, q_values, epsilon)

    loss = make_loss(apply, agent)
    trainer = value_based.make_trainer(init_params, apply, loss, sections, problem)
    return value_based.make_agent(trainer, act)


def make_loss(apply: value_based.Apply, agent: Settings) -> value_based.Loss:
    """The weighted mean of cross-entropies, from three passes with independent noise."""

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_selector, rng_target = jax.random.split(rng, 3)
        output_tm1 = apply(params, rng_tm1, transition.s_tm1)
        selector = apply(jax.lax.stop_gradient(params), rng_selector, transition.s_t)
        target = apply(target_params, rng_target, transition.s_t)
        atoms = c51.support(agent.v_max, agent.num_atoms)
        losses = categorical_double_q_losses(output_tm1, selector, target, transition, atoms)
        chex.assert_equal_shape([losses, weights])
        metrics = {"q_value": jnp.mean(output_tm1.q_values), "td_loss": jnp.mean(losses)}
        return jnp.mean(losses * weights), value_based.LossOutput(jnp.abs(losses), metrics)

    return loss


def categorical_double_q_losses(
    output_tm1: c51.C51Output,
    selector: c51.C51Output,
    target: c51.C51Output,
    transition: types.Transition,
    atoms: jax.Array,
) -> jax.Array:
    """Cross-entropies [B] of the projected target distributions (rlax).

    Args:
      output_tm1: online network at s_tm1.
      selector: online network at s_t with its own noise; its q-values choose the action.
      target: target network at s_t.
      transition: the batch.
      atoms: the support [atoms] of all three.
    """
    batch_loss = jax.vmap(
        rlax.categorical_double_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0, 0)
    )
    return batch_loss(  # pyright: ignore[reportReturnType]  (rlax says Numeric)
        atoms,
        output_tm1.q_logits,
        transition.a_tm1,
        transition.r_t,
        transition.discount_t,
        atoms,
        target.q_logits,
        selector.q_values,
    )


def without_noise(params: base.Params) -> base.Params:
    """The parameters with every sigma set to 0: the mean network."""
    return hk.data_structures.map(
        lambda module, name, value: jnp.zeros_like(value) if name.startswith("sigma") else value,
        params,
    )

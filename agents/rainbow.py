"""Rainbow (Hessel et al. 2018) as in DQN Zoo, optionally with a norm before every nonlinearity.

C51, double Q-learning, dueling streams, noisy networks, n-step returns and prioritized replay.
The last two are done by the replay; this file has the network's use, loss and acting.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import haiku as hk
import jax
import jax.numpy as jnp

from agents import base, exploration, optimizers, q_learning, value_based
from agents import passes as passes_lib
from agents.few_kernels import rainbow_losses
from core import checks, settings, types
from networks import value_network
from networks.heads import c51

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings


@dataclasses.dataclass(frozen=True)
class Settings(c51.SupportSettings):
    """The section `agent`."""

    module: str = settings.key("rainbow", checks.one_of("rainbow"), "this agent")
    double: bool = settings.key(
        True,
        checks.boolean(),
        "whether the online network chooses the target's action, or the target network itself",
        "DQN Zoo",
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


class Categorical(Protocol):
    """What the loss asks of an agent's settings."""

    @property
    def atoms(self) -> jax.Array: ...  # noqa: D102
    @property
    def double(self) -> bool: ...  # noqa: D102


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds Rainbow; see agents.base.make."""
    agent = sections.agent
    fixed = agent.fixed() if sections.has_few_kernels else None
    read = (fixed or agent).distribution
    network = q_learning.make_network(sections, problem, agent.num_atoms, read)

    def act(params, rng, observations, steps, mode) -> jax.Array:
        del steps
        rng_noise, rng_epsilon = jax.random.split(rng)
        is_training = mode == "training"
        if not (is_training or agent.evaluation_noise):
            params = without_noise(params)
        q_values = network.acting(params, rng_noise, observations).q_values
        epsilon = agent.exploration_epsilon if is_training else agent.evaluation_epsilon
        return exploration.epsilon_greedy(rng_epsilon, q_values, epsilon)

    passes = passes_lib.make(network.init, network.apply, sections, problem)
    loss = make_loss(passes, agent, fixed, sections.has_pallas)
    trainer = value_based.make_trainer(network.init, network.apply, loss, sections, problem)
    return value_based.make_agent(trainer, act)


def make_loss(
    passes: passes_lib.Passes,
    agent: Categorical,
    fixed: c51.FixedSupport | None = None,
    in_kernel: bool = False,
) -> value_based.Loss:
    """The weighted mean of cross-entropies, from three passes with independent noise.

    Without double Q-learning there are two: the target network chooses the action as well.

    Args:
      passes: of the network.
      agent: its settings.
      fixed: its support, for the losses of few_kernels/rainbow_losses.py; None for those below.
      in_kernel: whether those are few_kernels/pallas_losses.py's instead.
    """
    losses_of = categorical_double_q_losses if fixed is None else rainbow_losses.losses

    def loss(params, target_params, rng, transition, weights):
        rng_tm1, rng_selector, rng_target = jax.random.split(rng, 3)
        inputs = [passes_lib.Pass(params, rng_tm1, transition.s_tm1)]
        if agent.double:
            inputs.append(passes_lib.Pass(params, rng_selector, transition.s_t))
        inputs.append(passes_lib.Pass(target_params, rng_target, transition.s_t))
        outputs = passes(inputs)
        output_tm1, selector, target = outputs[0], outputs[-2], outputs[-1]
        selector = selector if agent.double else target
        atoms = agent.atoms if fixed is None else fixed.atoms
        if in_kernel:
            losses, output_tm1 = _losses_in_kernel(outputs, transition, atoms)
        else:
            losses = losses_of(output_tm1, selector, target, transition, atoms)
        return q_learning.mean_loss(losses, weights, output_tm1, jnp.abs(losses))

    return loss


def _losses_in_kernel(
    outputs: Sequence[c51.C51Output], transition: types.Transition, atoms: jax.Array
) -> tuple[jax.Array, c51.C51Output]:
    """The losses [B], and the first output with q-values from the same kernel."""
    from agents.few_kernels import pallas_losses  # slow to import, and not for every JAX

    logits = [output.q_logits for output in outputs]
    losses, q_values = pallas_losses.losses(logits, transition, atoms)
    return losses, outputs[0]._replace(q_values=q_values)


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
      selector: at s_t; its q-values choose the action: the online network with its own noise.
      target: target network at s_t.
      transition: the batch.
      atoms: the support [atoms] of all three.
    """
    import rlax  # slow to import, and only learning needs it

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

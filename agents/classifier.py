"""A classifier of labelled data that comes in a stream, with all that agents have.

An observation is an example, the reward that follows is its label (envs/labelled_images.py), the
numbers of the network are logits, and an action is the class that is thought right. Nothing is
bootstrapped.
"""

import dataclasses

import jax
import jax.numpy as jnp

from agents import base, optimizers, q_learning, value_based
from core import checks, settings
from networks import value_network
from networks.heads import value_bins

NetworkSettings = value_network.Settings
OptimizerSettings = optimizers.Settings

NEEDS = {"n_step": 1, "max_abs_reward": 0.0}
"""Of the section `transition`: a reward is a label, as it is and alone."""
REWARDS_ARE = "labels"
"""Of the environment."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `agent`."""

    module: str = settings.key("classifier", checks.one_of("classifier"), "this agent")
    label_smoothing: float = settings.key(
        0.0, checks.number(0, 1), "share of the uniform distribution in a target"
    )


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds it; see agents.base.make."""
    network = q_learning.make_network(sections, problem, size=1, read=lambda x: x[..., 0])
    loss = make_loss(network.apply, sections.agent)

    def act(params, rng, observations, steps, mode) -> jax.Array:
        del steps, mode
        logits = network.acting(params, rng, observations)
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    trainer = value_based.make_trainer(network.init, network.apply, loss, sections, problem)
    return value_based.make_agent(trainer, act)


def make_loss(apply: value_based.Apply, agent: Settings) -> value_based.Loss:
    """The weighted mean of cross-entropies between the logits at s_tm1 and its label, r_t."""

    def loss(params, target_params, rng, transition, weights):
        del target_params
        logits = apply(params, rng, transition.s_tm1)
        labels = jnp.round(transition.r_t).astype(jnp.int32)
        targets = jax.nn.one_hot(labels, logits.shape[-1])
        targets = value_bins.smoothed(targets, agent.label_smoothing)
        losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
        is_right = jnp.argmax(logits, axis=-1) == labels
        metrics = {"accuracy": jnp.mean(is_right, dtype=jnp.float32)}
        return jnp.mean(losses * weights), value_based.LossOutput(None, metrics)

    return loss

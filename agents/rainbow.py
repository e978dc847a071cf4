"""Rainbow (Hessel et al. 2018) as DQN Zoo has it, with a norm before every nonlinearity if asked.

C51, double Q-learning, dueling streams, noisy networks, n-step returns and prioritized replay.
The last two are the replay's; this file holds the network's use, the loss and the acting.
"""

from collections.abc import Mapping
from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import rlax
from dm_env import specs

from agents import base
from core import checks, plugins
from networks import normalization
from networks.heads import c51
from replay import base as replay_base

CHECKS: Mapping[str, checks.Check] = {
    "module": checks.text(),
    "num_atoms": checks.integer(2),
    "v_max": checks.number(0, open_low=True),
    "discount": checks.number(0, 1),
    "n_step": checks.integer(1),
    "frame_stack": checks.integer(0),
    "max_abs_reward": checks.number(0, open_low=True),
    "exploration_epsilon": checks.number(0, 1),
    "evaluation_epsilon": checks.number(0, 1),
    "evaluation_noise": checks.boolean(),
}


def make(config: Mapping[str, Any], action_spec: specs.DiscreteArray) -> base.Agent:
    """Builds Rainbow for one action space.

    Args:
      config: the whole config; its sections `agent` and `network` are read.
      action_spec: one lane's actions.

    Raises:
      ConfigError: for a bad key or value.
    """
    agent, head = config["agent"], config["network"]["head"]
    checks.verify("agent", agent, CHECKS)
    network = make_network(config["network"], action_spec.num_values, agent)
    acting_per_sample = head["acting_noise"] == "per_sample"
    learning_per_sample = head["noise"] == "per_sample"

    def init(rng: jax.Array, observations: jax.Array) -> base.Params:
        return network.init(rng, observations, False)

    def apply(params: base.Params, rng: jax.Array, observations: jax.Array) -> c51.C51Output:
        return network.apply(params, rng, observations, learning_per_sample)

    def act(params: base.Params, rng: jax.Array, observations: jax.Array) -> jax.Array:
        rng_noise, rng_epsilon = jax.random.split(rng)
        output = network.apply(params, rng_noise, observations, acting_per_sample)
        return epsilon_greedy(rng_epsilon, output.q_values, agent["exploration_epsilon"])

    def act_in_evaluation(
        params: base.Params, rng: jax.Array, observations: jax.Array
    ) -> jax.Array:
        rng_noise, rng_epsilon = jax.random.split(rng)
        params = params if agent["evaluation_noise"] else without_noise(params)
        output = network.apply(params, rng_noise, observations, acting_per_sample)
        return epsilon_greedy(rng_epsilon, output.q_values, agent["evaluation_epsilon"])

    def loss(
        params: base.Params,
        target_params: base.Params,
        rng: jax.Array,
        transition: replay_base.Transition,
        weights: jax.Array,
    ) -> tuple[jax.Array, base.LossOutput]:
        rng_tm1, rng_selector, rng_target = jax.random.split(rng, 3)
        output_tm1 = apply(params, rng_tm1, transition.s_tm1)
        selector = apply(jax.lax.stop_gradient(params), rng_selector, transition.s_t)
        target = apply(target_params, rng_target, transition.s_t)
        losses = categorical_double_q_losses(
            output_tm1, selector, target, transition, support(agent)
        )
        chex.assert_equal_shape([losses, weights])
        metrics = {"q_value": jnp.mean(output_tm1.q_values), "td_loss": jnp.mean(losses)}
        return jnp.mean(losses * weights), base.LossOutput(jnp.abs(losses), metrics)

    return base.Agent(init, act, act_in_evaluation, loss, apply)


def make_network(
    config: Mapping[str, Any], num_actions: int, agent: Mapping[str, Any]
) -> hk.Transformed:
    """The network: (observations [B, ...], noise per sample) -> C51Output.

    Raises:
      ConfigError: for a bad key or value in the section `network`.
    """
    norm = normalization.Normalization.from_config(config["norm"])
    torso_module = plugins.find(
        "networks.torsos", config["torso"]["module"], "network.torso.module"
    )
    head = c51.C51Head.from_config(config["head"], num_actions, norm)
    make_torso = torso_module.make

    def forward(observations: jax.Array, per_sample_noise: bool) -> c51.C51Output:
        features = make_torso(config["torso"], norm)(observations)
        return head(features, support(agent), per_sample_noise)

    return hk.transform(forward)


def support(agent: Mapping[str, Any]) -> jax.Array:
    """The atoms of the return's distribution, float32 [num_atoms], from -v_max to v_max."""
    return jnp.linspace(-agent["v_max"], agent["v_max"], agent["num_atoms"], dtype=jnp.float32)


def categorical_double_q_losses(
    output_tm1: c51.C51Output,
    selector: c51.C51Output,
    target: c51.C51Output,
    transition: replay_base.Transition,
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


def epsilon_greedy(rng: jax.Array, q_values: jax.Array, epsilon: float) -> jax.Array:
    """Greedy actions int32 [N], or uniform ones with probability epsilon per row."""
    greedy = jnp.argmax(q_values, axis=-1).astype(jnp.int32)
    if epsilon == 0:
        return greedy
    rng_explore, rng_action = jax.random.split(rng)
    explore = jax.random.bernoulli(rng_explore, epsilon, greedy.shape)
    uniform = jax.random.randint(rng_action, greedy.shape, 0, q_values.shape[-1], jnp.int32)
    return jnp.where(explore, uniform, greedy)


def without_noise(params: base.Params) -> base.Params:
    """The parameters with every sigma set to 0: the mean network."""
    return hk.data_structures.map(
        lambda module, name, value: jnp.zeros_like(value) if name.startswith("sigma") else value,
        params,
    )

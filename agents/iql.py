"""Implicit Q-learning (Kostrikov et al. 2022) with discrete actions, starting offline.

Three networks with an optimizer each: V is an upper expectile of the target network's Q, Q is
regressed on r + discount V, and the policy on actions of the data, weighted by their advantage.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from agents import base, exploration, measuring, optimizers, value_based
from core import checks, settings, types
from networks import activations, value_network

NETWORKS = ("q", "value", "policy")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `agent`."""

    module: str = settings.key("iql", checks.one_of("iql"), "this agent")
    expectile: float = settings.key(
        0.9, checks.number(0, 1), "of Q that V is regressed on", "Kostrikov et al. 2022: 0.7, 0.9"
    )
    temperature: float = settings.key(
        1.0,
        checks.number(0, open_low=True),
        "by which advantages are divided before they weigh actions",
        "Kostrikov et al. 2022: 1/3, 1/10",
    )
    max_advantage_weight: float = settings.key(
        100.0,
        checks.number(0),
        "to which these weights are clipped; 0: not",
        "Kostrikov et al. 2022",
    )
    target_step_size: float = settings.key(
        1.0,
        checks.number(0, 1, open_low=True),
        "by which the target goes towards Q whenever it is due: 1 copies it, less is Polyak's "
        "average",
    )
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """The section `network`: one like any value-based agent's for each of the three."""

    q: value_network.Settings = settings.section(value_network.Settings)
    value: value_network.Settings = settings.section(value_network.Settings)
    policy: value_network.Settings = settings.section(value_network.Settings)


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """The section `optimizer`: one like any value-based agent's for each of the three."""

    q: optimizers.Settings = settings.section(optimizers.Settings)
    value: optimizers.Settings = settings.section(optimizers.Settings)
    policy: optimizers.Settings = settings.section(optimizers.Settings)


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds IQL; see agents.base.make.

    Raises:
      ConfigError: also for interventions, which it can't use yet.
    """
    if sections.interventions:
        raise checks.ConfigError(
            f"interventions = {[x.module for x in sections.interventions]}: expected none with "
            "agent.module = 'iql'"
        )
    agent = _Iql(sections, problem)
    return base.Agent(
        init=agent.init,
        act=agent.act,
        update=agent.update,
        measure=agent.measure,
        forget=agent.forget,
        adopt=agent.adopt,
        norms=agent.norms,
        declared=agent.declared,
        observations=problem.observations,
        apply=agent.apply,
        units=agent.units,
        measure_units=agent.measure_units,
        measure_ranks=agent.measure_ranks,
        measure_network=agent.measure_network,
    )


class IqlOutput(NamedTuple):
    """Action values [B, A], the state's value [B, 1], and logits of actions [B, A]."""

    q_values: jax.Array
    value: jax.Array
    policy: jax.Array


class _Iql:
    """The three networks, their optimizers, and what base.Agent asks of them."""

    def __init__(self, sections: base.Sections, problem: base.Problem):
        self._settings, self._sections, self._problem = sections.agent, sections, problem
        sizes = {"q": problem.num_actions, "value": 1, "policy": problem.num_actions}
        self._networks = {
            name: value_network.make(getattr(sections.network, name), sizes[name], size=1)
            for name in NETWORKS
        }
        self._declared = {
            name: value_based.declared_network(self._init_of(name), problem) for name in NETWORKS
        }
        self._optimizers = {
            name: optimizers.make(
                self._optimizer_settings(name), problem.update_period_frames, self._declare(name)
            )
            for name in NETWORKS
        }
        whole = [network.under(name) for name, network in self._declared.items()]
        self.declared = types.DeclaredNetwork(
            tuple(layer for network in whole for layer in network.layers),
            tuple(units for network in whole for units in network.units),
        )

    def _optimizer_settings(self, name: str) -> optimizers.Settings:
        return getattr(self._sections.optimizer, name)

    def _init_of(self, name: str) -> Callable[[jax.Array, jax.Array], Any]:
        return lambda rng, observations: self._networks[name].init(rng, observations, False)

    def _declare(self, name: str) -> Callable[[Any], tuple[types.DeclaredLayer, ...]]:
        return lambda params: self._declared[name].layers

    def init(self, rng: jax.Array, observations: jax.Array) -> types.TrainState:
        """See base.Agent; target_params are Q's alone."""
        rngs = dict(zip(NETWORKS, jax.random.split(rng, len(NETWORKS))))
        params = {
            name: optimizers.start_params(
                self._init_of(name)(rngs[name], observations),
                self._optimizer_settings(name),
                self._declare(name),
            )
            for name in NETWORKS
        }
        return types.TrainState(
            params=params,
            target_params=jax.tree.map(jnp.copy, params["q"]),
            opt_state={name: self._optimizers[name].init(params[name]) for name in NETWORKS},
            updates=jnp.zeros((), jnp.int32),
            interventions={},
        )

    def _values(
        self, name: str, params: Any, rng: jax.Array, observations: jax.Array, noise: str
    ) -> jax.Array:
        """A network's output, [B, A]; [B, 1] for V."""
        return self._networks[name].apply(params, rng, observations, noise == "per_sample")[..., 0]

    def apply(self, params: base.Params, rng: jax.Array, observations: jax.Array) -> IqlOutput:
        """The outputs of the three networks."""

        def output(name):
            noise = getattr(self._sections.network, name).head.noise
            return self._values(name, params[name], rng, observations, noise)

        return IqlOutput(output("q"), output("value"), output("policy"))

    def act(self, params, rng, observations, steps, mode) -> jax.Array:
        """The policy's most likely action, or a uniform one with probability epsilon."""
        rng_noise, rng_epsilon = jax.random.split(rng)
        noise = self._sections.network.policy.head.acting_noise
        logits = self._values("policy", params["policy"], rng_noise, observations, noise)
        epsilon = self._settings.epsilon.at(steps, mode)
        return exploration.epsilon_greedy(rng_epsilon, logits, epsilon)

    def _losses(
        self,
        params: base.Params,
        target_params: base.Params,
        rng: jax.Array,
        transition: types.Transition,
        weights: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum of three losses, each with gradients for its own network alone."""
        rng_tm1, rng_t, rng_target = jax.random.split(rng, 3)
        outputs = self.apply(params, rng_tm1, transition.s_tm1)
        noise = self._sections.network
        target = self._values("q", target_params, rng_target, transition.s_tm1, noise.q.head.noise)
        v_t = self._values("value", params["value"], rng_t, transition.s_t, noise.value.head.noise)
        taken = jax.vmap(lambda values, action: values[action])
        q_target = jax.lax.stop_gradient(taken(target, transition.a_tm1))
        advantage = q_target - outputs.value[:, 0]
        chex.assert_equal_shape([advantage, weights])
        goal = jax.lax.stop_gradient(transition.r_t + transition.discount_t * v_t[:, 0])
        log_probs = taken(jax.nn.log_softmax(outputs.policy), transition.a_tm1)
        losses = {
            "value_loss": expectile_losses(advantage, self._settings.expectile),
            "q_loss": jnp.square(goal - taken(outputs.q_values, transition.a_tm1)),
            "policy_loss": -log_probs * action_weights(advantage, self._settings),
        }
        means = {name: jnp.mean(each * weights) for name, each in losses.items()}
        metrics = {**means, "q_value": jnp.mean(outputs.q_values), "advantage": jnp.mean(advantage)}
        return sum(means.values(), start=jnp.zeros(())), metrics

    def _step(self, state: types.TrainState, rng, transition, weights):
        """Loss, metrics, gradients, updates and optimizers' states for one batch."""
        value_and_grad = jax.value_and_grad(self._losses, has_aux=True)
        (loss, metrics), grads = value_and_grad(
            state.params, state.target_params, rng, transition, weights
        )
        updates, opt_state = {}, {}
        for name in NETWORKS:
            updates[name], opt_state[name] = self._optimizers[name].update(
                grads[name], state.opt_state[name], state.params[name]
            )
        return loss, metrics, grads, updates, opt_state

    def update(self, state, rng, transition, weights) -> base.Updated:
        """See base.Agent."""
        loss, metrics, grads, updates, opt_state = self._step(state, rng, transition, weights)
        params: Any = optax.apply_updates(state.params, updates)
        num_updates = state.updates + 1
        moved = optax.incremental_update(
            params["q"], state.target_params, self._settings.target_step_size
        )
        target_params = optax.periodic_update(
            moved, state.target_params, num_updates, self._problem.target_period_updates
        )
        rates = {
            f"{name}_learning_rate": optimizers.learning_rate(opt_state[name]) for name in NETWORKS
        }
        metrics = {
            **metrics,
            **rates,
            "loss": loss,
            "gradient_norm": optax.global_norm(grads),
            "learning_rate": rates["q_learning_rate"],
        }
        after = state._replace(
            params=params, target_params=target_params, opt_state=opt_state, updates=num_updates
        )
        return base.Updated(after, None, metrics)

    def measure(self, state, rng, transition, weights) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        _, _, grads, updates, opt_state = self._step(state, rng, transition, weights)
        return _joined(
            {
                name: optimizers.measure(
                    state.params[name],
                    grads[name],
                    updates[name],
                    opt_state[name],
                    self._optimizer_settings(name),
                    self._declare(name),
                )
                for name in NETWORKS
            }
        )

    def measure_network(self, state, rng, transition, weights, probe) -> base.Scalars:
        """See base.Agent; of the three networks together, and Q's values."""
        updates = self._step(state, rng, transition, weights)[3]
        network = measuring.Network(
            state.params,
            optax.apply_updates(state.params, updates),
            lambda params, observations: self.apply(params, rng, observations).q_values,
            lambda params, some: self._losses(
                params, state.target_params, rng, some, jnp.ones_like(some.r_t)
            )[0],
        )
        return measuring.measure_network(network, rng, probe)

    def forget(self, state, fresh, what: base.Forget) -> types.TrainState:
        """See base.Agent."""
        params = fresh.params if what.params else state.params
        target_params = jax.tree.map(jnp.copy, params["q"]) if what.target else state.target_params
        opt_state = optimizers.forget(state.opt_state, fresh.opt_state, what)
        return state._replace(params=params, target_params=target_params, opt_state=opt_state)

    def adopt(self, state: types.TrainState) -> types.TrainState:
        """See base.Agent."""
        opt_state = {
            name: optimizers.carry_over(
                self._optimizers[name].init(state.params[name]), state.opt_state[name]
            )
            for name in NETWORKS
        }
        return state._replace(opt_state=opt_state)

    def norms(self, params: base.Params) -> base.Scalars:
        """See base.Agent."""
        return {
            f"{name}/{layer}": norm
            for name in NETWORKS
            for layer, norm in optimizers.norms(
                params[name], self._optimizer_settings(name), self._declare(name)
            ).items()
        }

    def units(self, params, rng, observations) -> Mapping[str, activations.Units]:
        """See base.Agent."""
        return {
            f"{name}/{layer}": units
            for name in NETWORKS
            for layer, units in self._units_of(name, params, rng, observations).items()
        }

    def _units_of(self, name: str, params, rng, observations) -> dict[str, activations.Units]:
        with activations.recording() as seen:
            self._values(name, params[name], rng, observations, "shared")
        return seen

    def measure_units(self, params, rng, observations) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        return _joined(
            {
                name: measuring.measure_units(
                    self._units_of(name, params, rng, observations),
                    getattr(self._sections.network, name).activation,
                )
                for name in NETWORKS
            }
        )

    def measure_ranks(self, params, rng, observations) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        return _joined(
            {
                name: measuring.measure_ranks(
                    params[name],
                    self._units_of(name, params, rng, observations),
                    self._declared[name],
                )
                for name in NETWORKS
            }
        )


def _joined(measured: Mapping[str, Mapping[str, base.Scalars]]) -> dict[str, dict[str, jax.Array]]:
    """{quantity: {network/layer: scalar}} of what was measured of each network."""
    joined: dict[str, dict[str, jax.Array]] = {}
    for name, quantities in measured.items():
        for quantity, by_layer in quantities.items():
            prefixed = {f"{name}/{layer}": value for layer, value in by_layer.items()}
            joined.setdefault(quantity, {}).update(prefixed)
    return joined


def expectile_losses(errors: jax.Array, expectile: float) -> jax.Array:
    """|expectile - 1(u < 0)| u^2 for errors u [B]."""
    return jnp.where(errors < 0, 1 - expectile, expectile) * jnp.square(errors)


def action_weights(advantages: jax.Array, agent: Settings) -> jax.Array:
    """exp(advantage / temperature), clipped, without gradient, for advantages [B]."""
    weights = jnp.exp(jax.lax.stop_gradient(advantages) / agent.temperature)
    most = agent.max_advantage_weight
    return jnp.minimum(weights, most) if most else weights

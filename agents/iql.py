"""Implicit Q-learning (Kostrikov et al. 2022) with discrete actions, starting offline.

Three networks with an optimizer each: V is an upper expectile of the target network's Q, Q is
regressed on r + discount V, and the policy on actions of the data, weighted by their advantage.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from agents import base, exploration, intervening, iql_networks, measuring, optimizers
from core import checks, settings, types
from networks import nonlinearity

NETWORKS = iql_networks.NETWORKS
NetworkSettings = iql_networks.Settings


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
    acting: str = settings.key(
        "policy",
        checks.one_of("policy", "q"),
        "the network whose largest output is the action",
        "Kostrikov et al. 2022: policy",
    )
    target_step_size: float = settings.key(
        1.0,
        checks.number(0, 1, open_low=True),
        "by which the target goes towards Q whenever it is due: 1 copies it, less is Polyak's "
        "average",
    )
    epsilon: exploration.EpsilonSettings = settings.section(exploration.EpsilonSettings)


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """The section `optimizer`: one like any value-based agent's for each of the three."""

    q: optimizers.Settings = settings.section(optimizers.Settings, "optimizer")
    value: optimizers.Settings = settings.section(optimizers.Settings, "optimizer")
    policy: optimizers.Settings = settings.section(optimizers.Settings, "optimizer")


def make(sections: base.Sections, problem: base.Problem) -> base.Agent:
    """Builds IQL; see agents.base.make. Interventions are in the critic, Q, alone."""
    agent = _Iql(sections, problem)
    return base.Agent(
        init=agent.init,
        act=agent.act,
        update=agent.update,
        measure=agent.measure,
        forget=agent.forget,
        adopt=agent.adopt,
        norms=agent.norms,
        of_learning=agent.of_learning,
        declared=agent.networks.declared,
        observations=problem.observations,
        apply=agent.networks.apply,
        units=agent.networks.units,
        measure_units=agent.networks.measure_units,
        measure_ranks=agent.networks.measure_ranks,
        measure_network=agent.measure_network,
    )


class _Iql:
    """The three networks, their optimizers, and what base.Agent asks of them."""

    def __init__(self, sections: base.Sections, problem: base.Problem):
        self._settings, self._sections, self._problem = sections.agent, sections, problem
        self.networks = iql_networks.Networks(sections.network, problem)
        self._intervening = {
            name: self._make_intervening(name, sections.interventions if name == "q" else ())
            for name in NETWORKS
        }

    def _make_intervening(self, name: str, listed: Sequence[Any]) -> intervening.Intervening:
        network = getattr(self._sections.network, name)
        values = self.networks.values
        with iql_networks.renamed(name):
            return intervening.make(
                listed,
                self._optimizer_settings(name),
                nonlinearity.Nonlinearity(network.norm, network.activation),
                self.networks.declared_of(name),
                lambda rng, observations: self.networks.init(name, rng, observations),
                lambda params, rng, observations: values(name, params, rng, observations),
                self._problem,
            )

    def _optimizer_settings(self, name: str) -> optimizers.Settings:
        return getattr(self._sections.optimizer, name)

    def init(self, rng: jax.Array, observations: jax.Array) -> types.TrainState:
        """See base.Agent; target_params are Q's alone."""
        rngs = dict(zip(NETWORKS, jax.random.split(rng, len(NETWORKS))))
        params = {name: self._start(name, rngs[name], observations) for name in NETWORKS}
        return types.TrainState(
            params=params,
            target_params=jax.tree.map(jnp.copy, params["q"]),
            opt_state={
                name: own.optimizer.init(params[name]) for name, own in self._intervening.items()
            },
            updates=jnp.zeros((), jnp.int32),
            interventions=self._intervening["q"].init(params["q"]),
        )

    def _start(self, name: str, rng: jax.Array, observations: jax.Array) -> base.Params:
        with iql_networks.renamed(name):
            params = self.networks.init(name, rng, observations)
            chosen = self._optimizer_settings(name)
            return optimizers.start_params(params, chosen, self.networks.declare(name))

    def act(self, params, rng, observations, steps, mode) -> jax.Array:
        """The best action of the network that acts, or a uniform one with probability epsilon."""
        rng_noise, rng_epsilon = jax.random.split(rng)
        name = self._settings.acting
        noise = getattr(self._sections.network, name).head.acting_noise
        values = self.networks.values(name, params[name], rng_noise, observations, noise)
        epsilon = self._settings.epsilon.at(steps, mode)
        return exploration.epsilon_greedy(rng_epsilon, values, epsilon)

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
        outputs = self.networks.apply(params, rng_tm1, transition.s_tm1)
        q = self.networks.values("q", target_params, rng_target, transition.s_tm1)
        v_t = self.networks.values("value", params["value"], rng_t, transition.s_t)
        taken = jax.vmap(lambda values, action: values[action])
        q_target = jax.lax.stop_gradient(taken(q, transition.a_tm1))
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
        """Loss, metrics, regularizers' scalars, gradients, updates, optimizers' states."""

        def regularized(params):
            loss, metrics = self._losses(params, state.target_params, rng, transition, weights)
            term, scalars = self._intervening["q"].terms(
                params["q"], _critic(state), rng, transition
            )
            return loss + term, (loss, metrics, scalars)

        (_, found), grads = jax.value_and_grad(regularized, has_aux=True)(state.params)
        updates, opt_state = {}, {}
        for name, own in self._intervening.items():
            grads[name] = own.of_learning(grads[name], state.params[name])
            updates[name], opt_state[name] = own.optimize(
                grads[name], state.params[name], state.opt_state[name]
            )
        return *found, grads, updates, opt_state

    def update(self, state, rng, transition, weights) -> base.Updated:
        """See base.Agent."""
        loss, metrics, scalars, grads, updates, opt_state = self._step(
            state, rng, transition, weights
        )
        of_critic = self._intervening["q"]
        after = state._replace(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            updates=state.updates + 1,
            interventions=of_critic.advance(_critic(state), transition, metrics["q_loss"], scalars),
        )
        critic, of_operations = of_critic.operate(_critic(after), rng, transition)
        after = _with_critic(after, critic)
        moved = optax.incremental_update(
            critic.params, critic.target_params, self._settings.target_step_size
        )
        target_params = optax.periodic_update(
            moved, critic.target_params, after.updates, self._problem.target_period_updates
        )
        rates = {
            f"{name}_learning_rate": optimizers.learning_rate(opt_state[name]) for name in NETWORKS
        }
        metrics = {
            **metrics,
            **rates,
            **intervening.named(scalars),
            **intervening.named(of_operations),
            "loss": loss,
            "gradient_norm": optax.global_norm(grads),
            "learning_rate": rates["q_learning_rate"],
        }
        return base.Updated(after._replace(target_params=target_params), None, metrics)

    def measure(self, state, rng, transition, weights) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        _, _, _, grads, updates, opt_state = self._step(state, rng, transition, weights)
        td_grads = grads
        if self._intervening["q"].regularizes:
            losses = lambda p: self._losses(p, state.target_params, rng, transition, weights)[0]  # noqa: E731
            td_grads = {
                name: self._intervening[name].of_learning(part, state.params[name])
                for name, part in jax.grad(losses)(state.params).items()
            }
        return iql_networks.joined(
            {
                name: optimizers.measure(
                    state.params[name],
                    grads[name],
                    updates[name],
                    opt_state[name],
                    self._optimizer_settings(name),
                    self.networks.declare(name),
                    td_grads[name],
                )
                for name in NETWORKS
            }
        )

    def measure_network(self, state, rng, transition, weights, probe) -> base.Scalars:
        """See base.Agent; of the three networks together, and Q's values."""
        updates = self._step(state, rng, transition, weights)[4]
        network = measuring.Network(
            state.params,
            optax.apply_updates(state.params, updates),
            lambda params, observations: self.networks.apply(params, rng, observations).q_values,
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
        return state._replace(
            params=params,
            target_params=target_params,
            opt_state=opt_state,
            interventions=(fresh if what.params else state).interventions,
        )

    def adopt(self, state: types.TrainState) -> types.TrainState:
        """See base.Agent."""
        opt_state = {
            name: optimizers.carry_over(
                own.optimizer.init(state.params[name]), state.opt_state[name]
            )
            for name, own in self._intervening.items()
        }
        interventions = optimizers.carry_over_parts(
            self._intervening["q"].init(state.params["q"]), state.interventions
        )
        return state._replace(opt_state=opt_state, interventions=interventions)

    def of_learning(self, grads: Mapping[str, Any], params: base.Params) -> dict[str, Any]:
        """See base.Agent."""
        return {
            name: own.of_learning(grads[name], params[name])
            for name, own in self._intervening.items()
        }

    def norms(self, params: base.Params) -> base.Scalars:
        """See base.Agent."""
        return {
            f"{name}/{layer}": norm
            for name in NETWORKS
            for layer, norm in optimizers.norms(
                params[name], self._optimizer_settings(name), self.networks.declare(name)
            ).items()
        }


def _critic(state: types.TrainState) -> types.TrainState:
    """Q's part of a state; the target's parameters are Q's alone anyway."""
    return state._replace(params=state.params["q"], opt_state=state.opt_state["q"])


def _with_critic(state: types.TrainState, critic: types.TrainState) -> types.TrainState:
    """The state with Q's part replaced."""
    return critic._replace(
        params={**state.params, "q": critic.params},
        opt_state={**state.opt_state, "q": critic.opt_state},
    )


def expectile_losses(errors: jax.Array, expectile: float) -> jax.Array:
    """|expectile - 1(u < 0)| u^2 for errors u [B]."""
    return jnp.where(errors < 0, 1 - expectile, expectile) * jnp.square(errors)


def action_weights(advantages: jax.Array, agent: Settings) -> jax.Array:
    """exp(advantage / temperature), clipped, without gradient, for advantages [B]."""
    weights = jnp.exp(jax.lax.stop_gradient(advantages) / agent.temperature)
    most = agent.max_advantage_weight
    return jnp.minimum(weights, most) if most else weights

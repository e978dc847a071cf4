"""What value-based agents share: one loss, one optimizer, and a target network that is a copy."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import base, intervening, measuring, optimizers
from agents.few_kernels import packing
from core import types
from networks import activations, declared, nonlinearity

Apply = intervening.Apply


class LossOutput(NamedTuple):
    """A loss's outputs besides its value.

    Attributes:
      priorities: float32 [B] >= 0 for the transitions, or None for an agent without them.
      metrics: scalars by name, for the log.
    """

    priorities: jax.Array | None
    metrics: base.Scalars


Loss = Callable[[Any, Any, jax.Array, types.Transition, jax.Array], tuple[jax.Array, LossOutput]]
"""(params, target_params, rng, transitions, weights [B]) -> scalar loss, LossOutput."""


class _Gradients(NamedTuple):
    """Of one batch: gradients, loss without regularizers, its output, regularizers' scalars."""

    grads: Any
    loss: jax.Array
    output: LossOutput
    scalars: intervening.Scalars


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """Loss, optimizer, interventions, and the target network's copy when it is due.

    Attributes:
      init_params: (rng, observations [B, ...]) -> parameters.
      apply: (params, rng, observations) -> the network's output.
      loss: of the agent.
      sections: the agent's parts of the configuration.
      problem: what it learns.
      declared: its network's layers and hidden units.
      intervening: with the optimizer of the section `optimizer`.
    """

    init_params: Callable[[jax.Array, jax.Array], Any]
    apply: Apply
    loss: Loss
    sections: base.Sections
    problem: base.Problem
    declared: types.DeclaredNetwork
    intervening: intervening.Intervening

    def init(self, rng: jax.Array, observations: jax.Array) -> types.TrainState:
        """The state of a new agent for observations like these [B, ...]."""
        params = optimizers.start_params(
            self.init_params(rng, observations), self.sections.optimizer, self._declare
        )
        return types.TrainState(
            params=params,
            # A buffer of its own: the two are donated together.
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=self.intervening.optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
            interventions=self.intervening.init(params),
        )

    def update(
        self,
        state: types.TrainState,
        rng: jax.Array,
        transition: types.Transition,
        weights: jax.Array,
    ) -> base.Updated:
        """Does an update on a batch; see base.Agent."""
        found = self._gradients(state, rng, transition, weights)
        updates, opt_state = self._optimize(found, state)
        num_updates = state.updates + 1
        after = state._replace(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            updates=num_updates,
            interventions=self.intervening.advance(state, transition, found.loss, found.scalars),
        )
        after, of_operations = self.intervening.operate(after, rng, transition)
        target_params = optax.periodic_update(
            after.params, after.target_params, num_updates, self.problem.target_period_updates
        )
        metrics = {
            **found.output.metrics,
            **intervening.named(found.scalars),
            **intervening.named(of_operations),
            "loss": found.loss,
            "gradient_norm": optax.global_norm(found.grads),
            "learning_rate": optimizers.learning_rate(opt_state),
        }
        after = after._replace(target_params=target_params)
        return base.Updated(after, found.output.priorities, metrics)

    def measure(
        self,
        state: types.TrainState,
        rng: jax.Array,
        transition: types.Transition,
        weights: jax.Array,
    ) -> Mapping[str, base.Scalars]:
        """{quantity: {layer: scalar}} of an update that is not applied; see base.Agent."""
        found = self._gradients(state, rng, transition, weights)
        updates, opt_state = self._optimize(found, state)
        td_grads = None
        if self.intervening.regularizes:
            loss = lambda p: self.loss(p, state.target_params, rng, transition, weights)[0]  # noqa: E731
            td_grads = self.intervening.of_learning(jax.grad(loss)(state.params), state.params)
        return optimizers.measure(
            state.params,
            found.grads,
            updates,
            opt_state,
            self.sections.optimizer,
            self._declare,
            td_grads,
        )

    def measure_network(
        self,
        state: types.TrainState,
        rng: jax.Array,
        transition: types.Transition,
        weights: jax.Array,
        probe: types.Transition,
    ) -> base.Scalars:
        """Scalars of the whole network; see base.Agent."""
        updates, _ = self._optimize(self._gradients(state, rng, transition, weights), state)
        network = measuring.Network(
            state.params,
            optax.apply_updates(state.params, updates),
            lambda params, observations: base.action_values(self.apply(params, rng, observations)),
            lambda params, some: self.loss(
                params, state.target_params, rng, some, jnp.ones_like(some.r_t)
            )[0],
        )
        return measuring.measure_network(network, rng, probe)

    def forget(
        self, state: types.TrainState, fresh: types.TrainState, what: base.Forget
    ) -> types.TrainState:
        """The state that a task begins with; see base.Agent."""
        params = fresh.params if what.params else state.params
        target_params = jax.tree.map(jnp.copy, params) if what.target else state.target_params
        return state._replace(
            params=params,
            target_params=target_params,
            opt_state=optimizers.forget(state.opt_state, fresh.opt_state, what),
            interventions=(fresh if what.params else state).interventions,
        )

    def adopt(self, state: types.TrainState) -> types.TrainState:
        """The continuation of another agent's state; see base.Agent."""
        return state._replace(
            opt_state=optimizers.carry_over(
                self.intervening.optimizer.init(state.params), state.opt_state
            ),
            interventions=optimizers.carry_over_parts(
                self.intervening.init(state.params), state.interventions
            ),
        )

    def norms(self, params: Any) -> base.Scalars:
        """The norms of the layers that are projected, or would be; see base.Agent."""
        return optimizers.norms(params, self.sections.optimizer, self._declare)

    def units(
        self, params: Any, rng: jax.Array, observations: jax.Array
    ) -> Mapping[str, activations.Units]:
        """{layer: Units(pre, post)} for observations [B, ...]; see base.Agent."""
        return intervening.seen(self.apply, params, rng, observations)

    def measure_units(
        self, params: Any, rng: jax.Array, observations: jax.Array
    ) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        seen = self.units(params, rng, observations)
        return measuring.measure_units(seen, self.sections.network.activation)

    def measure_ranks(
        self, params: Any, rng: jax.Array, observations: jax.Array
    ) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        seen = self.units(params, rng, observations)
        return measuring.measure_ranks(params, seen, self.declared)

    def _declare(self, params: Any) -> tuple[types.DeclaredLayer, ...]:
        del params
        return self.declared.layers

    def _gradients(
        self,
        state: types.TrainState,
        rng: jax.Array,
        transition: types.Transition,
        weights: jax.Array,
    ) -> _Gradients:
        def regularized(params):
            loss, output = self.loss(params, state.target_params, rng, transition, weights)
            term, scalars = self.intervening.terms(params, state, rng, transition)
            return loss + term, (loss, output, scalars)

        (_, found), grads = jax.value_and_grad(regularized, has_aux=True)(state.params)
        return _Gradients(self.intervening.of_learning(grads, state.params), *found)

    def _optimize(self, found: _Gradients, state: types.TrainState) -> tuple[Any, Any]:
        """The updates, and the optimizer's state after them."""
        return self.intervening.optimize(found.grads, state.params, state.opt_state)


def make_trainer(
    init_params: Callable[[jax.Array, jax.Array], Any],
    apply: Apply,
    loss: Loss,
    sections: base.Sections,
    problem: base.Problem,
) -> Trainer:
    """Builds the shared part of an agent, with the layers that its network declares.

    Args:
      init_params: (rng, observations [B, ...]) -> parameters.
      apply: (params, rng, observations) -> the network's output.
      loss: of the agent.
      sections: the agent's parts of the configuration.
      problem: what it learns.

    Raises:
      ConfigError: if an intervention or the optimizer's settings don't fit.
    """
    network = declared_network(init_params, problem)
    made = intervening.make(
        sections.interventions,
        sections.optimizer,
        nonlinearity.Nonlinearity(sections.network.norm, sections.network.activation),
        network,
        init_params,
        apply,
        problem,
    )
    return Trainer(init_params, apply, loss, sections, problem, network, made)


def declared_network(
    init_params: Callable[[jax.Array, jax.Array], Any], problem: base.Problem
) -> types.DeclaredNetwork:
    """What a network declares when traced with the problem's observations."""
    with declared.recording() as found:
        # A function of its own: one that was traced before would not be traced again.
        jax.eval_shape(lambda *x: init_params(*x), jax.random.key(0), problem.observations)
    return types.DeclaredNetwork(tuple(found.layers), tuple(found.units))


def make_agent(trainer: Trainer, act: Callable[..., jax.Array]) -> base.Agent:
    """The agent made of a trainer and an acting function; see base.Agent."""
    packed = packing.make(trainer) if trainer.sections.has_few_kernels else None
    return base.Agent(
        init=trainer.init,
        act=act,
        update=trainer.update,
        measure=trainer.measure,
        forget=trainer.forget,
        adopt=trainer.adopt,
        norms=trainer.norms,
        of_learning=trainer.intervening.of_learning,
        declared=trainer.declared,
        observations=trainer.problem.observations,
        apply=trainer.apply,
        units=trainer.units,
        measure_units=trainer.measure_units,
        measure_ranks=trainer.measure_ranks,
        measure_network=trainer.measure_network,
        packed=packed,
    )

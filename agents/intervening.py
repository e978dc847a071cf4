"""What an agent does with its interventions, in the order of plasticity/interventions/base.py."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from agents import base, optimizers
from core import checks, injected, types
from networks import activations, nonlinearity
from plasticity import layers
from plasticity.interventions import base as interventions

Apply = Callable[[Any, jax.Array, jax.Array], Any]
Scalars = Mapping[str, base.Scalars]


@dataclasses.dataclass(frozen=True, eq=False)
class Intervening:
    """Interventions in one network, and its optimizer with their parts in it.

    States given to it have that network's parameters, target and optimizer alone.

    Attributes:
      used: by name.
      optimizer: built from its section.
      apply: (params, rng, observations) -> the network's output.
      on_spheres: (params, opt_state) -> the parameters where NaP wants them.
    """

    used: Mapping[str, interventions.Intervention]
    optimizer: optax.GradientTransformation
    apply: Apply
    on_spheres: Callable[[Any, Any], Any]

    @property
    def regularizes(self) -> bool:
        """Whether anything is added to the loss."""
        return any(item.regularizer for item in self.used.values())

    def init(self, params: Any) -> dict[str, Any]:
        """The interventions' states, by name and kind."""
        return {
            name: {
                kind: part.init(params)
                for kind, part in (("regularizer", x.regularizer), ("operation", x.operation))
                if part is not None
            }
            for name, x in self.used.items()
        }

    def terms(
        self, params: Any, state: types.TrainState, rng: jax.Array, transition: types.Transition
    ) -> tuple[jax.Array | float, Scalars]:
        """What the regularizers add to the loss at `params`, and their scalars by name."""
        used = {n: x.regularizer for n, x in self.used.items() if x.regularizer}
        # What is off draws no key, so that results stay the same.
        keys = jax.random.split(base.apart(rng, base.REGULARIZERS), len(used)) if used else ()
        total, scalars = 0.0, {}

        def q_values(params, rng, observations):
            return base.action_values(self.apply(params, rng, observations))

        for (name, regularizer), key in zip(used.items(), keys):
            context = interventions.Context(
                state.target_params, transition, key, self.apply, q_values
            )
            own = state.interventions[name]["regularizer"]
            term, scalars[name] = regularizer.loss(params, own, state.updates, context)
            total = total + term
        return total, scalars

    def advance(
        self,
        state: types.TrainState,
        transition: types.Transition,
        loss: jax.Array,
        scalars: Scalars,
    ) -> dict[str, Any]:
        """The interventions' states, those of the regularizers after an update.

        Args:
          state: before it.
          transition: its batch.
          loss: the agent's own.
          scalars: from `terms`.
        """
        after = dict(state.interventions)
        for name, own_scalars in scalars.items():
            regularizer = self.used[name].regularizer
            if regularizer is not None and regularizer.advance is not None:
                done = interventions.Done(state.params, transition, loss, own_scalars)
                own = regularizer.advance(after[name]["regularizer"], state.updates, done)
                after[name] = {**after[name], "regularizer": own}
        return after

    def of_learning(self, tree: Any, params: Any, others: Any = None) -> Any:
        """A tree with 0, or the leaves of another, for the parameters that do not learn."""
        for item in self.used.values():
            if item.trainable is None:
                continue
            masks = item.trainable(params)
            kept = None if others is None else layers.leaves_by_path(others)

            def mask(path, x, masks=masks, kept=kept):
                return jnp.where(masks[path], x, 0 if kept is None else kept[path])

            tree = layers.map_leaves(mask, tree, masks)
        return tree

    def optimize(self, grads: Any, params: Any, opt_state: Any) -> tuple[Any, Any]:
        """The updates, and the optimizer's state after them, for gradients `of_learning`."""
        updates, opt_state = self.optimizer.update(grads, opt_state, params)
        return self.of_learning(updates, params), opt_state

    def operate(
        self, state: types.TrainState, rng: jax.Array, transition: types.Transition
    ) -> tuple[types.TrainState, Scalars]:
        """Carries out the operations in order, on a state that was updated."""
        scalars: dict[str, base.Scalars] = {}
        used = {n: x.operation for n, x in self.used.items() if x.operation}
        for i, (name, operation) in enumerate(used.items()):
            states = state.interventions[name]
            key = base.apart(rng, base.OPERATIONS + i)
            before, target_before = state.params, state.target_params
            state, after, scalars[name] = operation.apply(
                state, states["operation"], key, transition
            )
            if self.used[name].trainable is None:
                state = state._replace(
                    params=self.of_learning(state.params, before, before),
                    target_params=self.of_learning(state.target_params, before, target_before),
                )
            own = {**states, "operation": after}
            state = state._replace(interventions={**state.interventions, name: own})
        if used:
            placed = self.on_spheres(state.params, state.opt_state)
            state = state._replace(params=self.of_learning(placed, state.params, state.params))
        return state, scalars


def named(scalars: Scalars) -> dict[str, jax.Array]:
    """The scalars of interventions, as the log names them."""
    return {f"{name}_{key}": x for name, own in scalars.items() for key, x in own.items()}


def seen(apply: Apply, params: Any, rng, observations) -> dict[str, activations.Units]:
    """The units of a network that is applied, by name."""
    with activations.recording() as found:
        apply(params, rng, observations)
    return dict(found)


def make(
    listed: Any,
    chosen: optimizers.Settings,
    nonlinear: nonlinearity.Nonlinearity,
    network: types.DeclaredNetwork,
    init_params: Callable[[jax.Array, jax.Array], Any],
    apply: Apply,
    problem: base.Problem,
) -> Intervening:
    """Builds the interventions in a network, and its optimizer.

    Args:
      listed: settings of the interventions.
      chosen: the section of the network's optimizer.
      nonlinear: the network's nonlinearity and norm.
      network: what it declares.
      init_params: (rng, observations [B, ...]) -> parameters.
      apply: (params, rng, observations) -> the network's output.
      problem: what is learned.

    Raises:
      ConfigError: if an intervention or the optimizer's settings don't fit.
    """
    declare = lambda params: network.layers  # noqa: E731

    def start(rng):
        shape, dtype = problem.observations.shape, problem.observations.dtype
        return optimizers.start_params(init_params(rng, jnp.zeros(shape, dtype)), chosen, declare)

    subject = interventions.Subject(
        network,
        jax.eval_shape(init_params, jax.random.key(0), problem.observations),
        start,
        problem.update_period_frames,
        lambda params, rng, observations: seen(apply, params, rng, observations),
        problem.observations,
    )
    used = interventions.make(listed, subject)
    optimizers.check(chosen, used, subject.shapes, declare, nonlinear)
    optimizers.check_reset(chosen, used, subject.shapes)
    optimizer = optimizers.make(chosen, problem.update_period_frames, declare, list(used.values()))
    _check_gates(subject.shapes, used)

    def on_spheres(params, opt_state):
        # With a longer period parameters leave their spheres between projections anyway.
        if chosen.projection.period_updates > 1:
            return params
        return optimizers.on_spheres(params, opt_state, chosen, declare)

    return Intervening(used, optimizer, apply, on_spheres)


def _check_gates(shapes: Any, used: Mapping[str, interventions.Intervention]) -> None:
    """Raises ConfigError if a network waits for an injection that never comes."""
    has_gates = any(injected.GATE.search(path) for path in layers.leaves_by_path(shapes))
    if has_gates and not any(item.trainable for item in used.values()):
        raise checks.ConfigError(
            "network.injection.times: expected 0, or the intervention 'injection' beside it"
        )

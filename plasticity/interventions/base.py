"""The contract of interventions, and where each kind acts in an update.

One update: gradient of (loss + regularizers) -> clip by global norm -> optimizer -> learning rate
-> the layers' factors -> transforms -> constraints -> the parameters -> operations -> copy to the
target network.

A file of this folder has `Settings`, a section with the key `module`, and
`make(settings, subject) -> Intervention`. Without any, an update is bit for bit unchanged.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax

from core import checks, plugins, settings, types

PACKAGE = "plasticity.interventions"

Scalars = Mapping[str, jax.Array]


class Subject(NamedTuple):
    """What an intervention is made for.

    Attributes:
      declared: the network's layers and hidden units.
      shapes: of its parameters.
      init_params: (rng) -> new parameters, as a run begins with.
      frames_per_update: emulator frames for each update.
      units: (params, rng, observations [B, ...]) -> {name: units, pre and post}.
      observations: shape and type [1, ...] of one.
    """

    declared: types.DeclaredNetwork
    shapes: Any
    init_params: Callable[[jax.Array], Any]
    frames_per_update: float
    units: Callable[[Any, jax.Array, jax.Array], Mapping[str, Any]]
    observations: jax.ShapeDtypeStruct

    def declare(self, params: Any) -> tuple[types.DeclaredLayer, ...]:
        """What the layers of the parameters are, as plasticity.layers asks it."""
        del params
        return self.declared.layers


class Context(NamedTuple):
    """What a regularizer may look at.

    Attributes:
      target_params: of the target network.
      transition: the batch.
      rng: a key of its own.
      apply: (params, rng, observations) -> the network's output.
      q_values: the same -> the expected values of all actions, [B, A].
    """

    target_params: Any
    transition: types.Transition
    rng: jax.Array
    apply: Callable[[Any, jax.Array, jax.Array], Any]
    q_values: Callable[[Any, jax.Array, jax.Array], jax.Array]


class Done(NamedTuple):
    """What a regularizer's state may advance by, after the gradients of an update.

    Attributes:
      params: those that the gradients are of.
      transition: the batch.
      loss: the agent's own, a scalar.
      scalars: what the regularizer's `loss` gave for the log.
    """

    params: Any
    transition: types.Transition
    loss: jax.Array
    scalars: Scalars


class Regularizer(NamedTuple):
    """A term that is added to the loss.

    Attributes:
      init: (params) -> its state.
      loss: (params, state, updates done, Context) -> scalar, scalars by name for the log.
      advance: (state, updates done before this one, Done) -> its state; None: it never changes.
    """

    init: Callable[[Any], Any]
    loss: Callable[[Any, Any, jax.Array, Context], tuple[jax.Array, Scalars]]
    advance: Callable[[Any, jax.Array, Done], Any] | None = None


class Operation(NamedTuple):
    """A change of the state after the parameters were updated.

    Attributes:
      init: (params) -> its state.
      apply: (state of the agent, its own state, rng, batch) -> both afterwards, scalars by name. It
        decides by the state's update count whether it is due.
      resets_moments: whether it resets some of the optimizer's, which must then be known.
    """

    init: Callable[[Any], Any]
    apply: Callable[
        [types.TrainState, Any, jax.Array, types.Transition],
        tuple[types.TrainState, Any, Scalars],
    ]
    resets_moments: bool = False


class ConstraintState(NamedTuple):
    """State of a constraint.

    Attributes:
      inner: of the optimizer that it wraps.
      own: its own, which begins anew with the parameters.
    """

    inner: Any
    own: Any


class Intervention(NamedTuple):
    """One intervention, of at least one kind.

    Attributes:
      regularizer: see there.
      transform: of the updates, after the learning rate.
      constraint: wraps the whole optimizer, so that the parameters land where allowed; NaP is
        one (plasticity/projection.py).
      held: paths of the parameters that the constraint holds; no two may hold the same.
      operation: see there.
      trainable: (params) -> by path, whether a leaf learns, bool []; leaves left out always do. The
        others get no gradient and no update.
    """

    regularizer: Regularizer | None = None
    transform: optax.GradientTransformation | None = None
    constraint: Callable[[optax.GradientTransformation], optax.GradientTransformation] | None = None
    operation: Operation | None = None
    held: frozenset[str] = frozenset()
    trainable: Callable[[Any], Mapping[str, jax.Array]] | None = None


def parse(sections: Sequence[Any], path: str = "interventions") -> tuple[Any, ...]:
    """The settings of the interventions that a configuration lists; keys left out have defaults.

    Raises:
      ConfigError: for an unknown module, key or value.
    """
    parsed = []
    for i, section in enumerate(sections):
        module = settings.find_plugin(PACKAGE, f"{path}[{i}]", section)
        whole = settings.complete(module.Settings, section, f"{path}[{i}]")
        parsed.append(settings.parse(module.Settings, whole, f"{path}[{i}]"))
    return tuple(parsed)


def make(listed: Sequence[Any], subject: Subject) -> dict[str, Intervention]:
    """Builds the interventions, in the order in which they are applied.

    Args:
      listed: the settings of each.
      subject: what they are made for.

    Returns:
      By name: the module's, numbered where it is repeated.

    Raises:
      ConfigError: if an intervention does not fit the network.
    """
    made: dict[str, Intervention] = {}
    for item in listed:
        count = sum(name.partition("_#")[0] == item.module for name in made)
        name = f"{item.module}_#{count + 1}" if count else item.module
        module = plugins.find(PACKAGE, item.module, "interventions.module")
        made[name] = module.make(item, subject)
        if made[name] == Intervention():
            raise checks.ConfigError(f"interventions: {name!r} has no part")
    check_held({name: item.held for name, item in made.items()})
    return made


def check_held(held: Mapping[str, frozenset[str]]) -> None:
    """Raises ConfigError if two constraints, paths by name, hold the same parameters."""
    for (first, own), (second, others) in itertools.combinations(held.items(), 2):
        if own & others:
            raise checks.ConfigError(
                f"interventions: {first} and {second} both hold {min(own & others)}: expected one "
                "constraint for each layer (key layers)"
            )

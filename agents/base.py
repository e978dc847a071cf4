"""The Agent contract: an algorithm as pure functions, without threads, files or replay."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax

from core import formulations, plugins, types

PACKAGE = "agents"

# With jax_threefry_partitionable, fold_in(key, i) is split(key, n)[i]: no split has so many parts.
_APART = 1 << 31

Params = Any
Scalars = Mapping[str, jax.Array]
Mode = Literal["training", "evaluation"]


class Sections(NamedTuple):
    """An agent's parts of a configuration, parsed.

    Attributes:
      agent: `Settings` of the agent's module.
      network: its `NetworkSettings`.
      optimizer: its `OptimizerSettings`.
      interventions: settings of the listed interventions.
      formulation: one of core/formulations.py, but not auto.
    """

    agent: Any
    network: Any
    optimizer: Any
    interventions: tuple[Any, ...] = ()
    formulation: str = formulations.REFERENCE

    @property
    def draws_ahead(self) -> bool:
        """Whether the noise of a pass is drawn before it."""
        return self.formulation != formulations.REFERENCE

    @property
    def has_few_kernels(self) -> bool:
        """Whether the formulation is FEW_KERNELS, or PALLAS, which goes further."""
        return self.formulation in (formulations.FEW_KERNELS, formulations.PALLAS)

    @property
    def has_pallas(self) -> bool:
        """Whether the formulation is PALLAS."""
        return self.formulation == formulations.PALLAS


# For `apart`, in an update: numbers of what draws beside the loss. The i-th operation has
# OPERATIONS + i.
REGULARIZERS, OPERATIONS = 0, 1
BONUS, MEASUREMENTS = 1_000, 1_001


def apart(rng: jax.Array, number: int) -> jax.Array:
    """A key that no split of `rng` gives, for what is drawn beside that; one for each number."""
    return jax.random.fold_in(rng, _APART + number)


class Problem(NamedTuple):
    """What an agent learns, and how often.

    Attributes:
      observations: shape and type [1, ...] of what it sees of one environment: a stack of frames
        or a vector.
      num_actions: A.
      update_period_frames: emulator frames for each update.
      target_period_updates: updates between two copies to the target network.
    """

    observations: jax.ShapeDtypeStruct
    num_actions: int
    update_period_frames: int
    target_period_updates: int


class Updated(NamedTuple):
    """Result of an update.

    Attributes:
      state: after it.
      priorities: float32 [B] >= 0 for the transitions, or None for an agent without them.
      metrics: scalars by name, each of which must be finite; `loss`, `gradient_norm` and
        `learning_rate` (the one used) are always there.
    """

    state: types.TrainState
    priorities: jax.Array | None
    metrics: Scalars


class Forget(NamedTuple):
    """What a state forgets at a change of task.

    Attributes:
      params: new ones, at their own radii.
      target: the target network becomes a copy of the parameters.
      moments: of the optimizers, with their counts.
      schedule: the learning-rate schedule restarts.

    The states of interventions are those of parameters (copies, ages of units, radii): they begin
    anew with these alone.
    """

    params: bool = False
    target: bool = False
    moments: bool = False
    schedule: bool = False


class Packed(NamedTuple):
    """An update on states whose arrays are few.

    Attributes:
      pack: (TrainState) -> the same state, packed.
      unpack: its inverse.
      update: as Agent.update, on packed states, but without the copy to the target network.
      copy_target: (packed state after an update) -> the same with that copy, if it is due.
      target_period_updates: updates between two copies.
    """

    pack: Callable[[types.TrainState], types.TrainState]
    unpack: Callable[[types.TrainState], types.TrainState]
    update: Callable[[types.TrainState, jax.Array, types.Transition, jax.Array], Updated]
    copy_target: Callable[[types.TrainState], types.TrainState]
    target_period_updates: int


class Agent(NamedTuple):
    """An algorithm.

    Attributes:
      init: (rng, observations [B, ...]) -> the state of a new agent.
      act: (params, rng, observations [N, ...], agent steps so far int32 [], mode) -> actions int32
        [N]; the mode is static.
      update: (state, rng, transitions [B, ...], weights [B]) -> Updated.
      measure: the same arguments -> {quantity: {layer: scalar}} of an update that is not applied:
        those of optimizers.measure.
      forget: (state, fresh state, Forget) -> the state that a task begins with; the Forget is
        static.
      adopt: (state of an agent with the same networks, but other interventions, optimizer or
        settings) -> its continuation by this agent: what fits is kept, what is new begins now.
      norms: (params) -> the norms of the layers that NaP projects or would, scalars by name.
      of_learning: (gradients, params) -> gradients with 0 for parameters that do not learn now.
      declared: what the networks declare of their layers and hidden units.
      observations: shape and type [1, ...] of what it sees of one environment.
      apply: (params, rng, observations [B, ...]) -> the network's output, for analysis: action
        values [B, A], or an object that has them as `q_values`.
      units: (params, rng, observations [B, ...]) -> {layer: Units(pre, post)}; None for an agent
        that does not show them.
      measure_units: the same arguments -> {quantity: {layer: scalar}} of these units.
      measure_ranks: the same arguments -> {quantity: {layer: scalar}} of weights, and of features
        that are vectors.
      measure_network: (state, rng, transitions [B, ...], weights [B], transitions of the probe) ->
        scalars of the whole network, by name.
      packed: the same update on packed states, where the formulation asks for it and the agent has
        it; else None.
    """

    init: Callable[[jax.Array, jax.Array], types.TrainState]
    act: Callable[[Params, jax.Array, jax.Array, jax.Array, Mode], jax.Array]
    update: Callable[[types.TrainState, jax.Array, types.Transition, jax.Array], Updated]
    measure: Callable[
        [types.TrainState, jax.Array, types.Transition, jax.Array], Mapping[str, Scalars]
    ]
    forget: Callable[[types.TrainState, types.TrainState, Forget], types.TrainState]
    adopt: Callable[[types.TrainState], types.TrainState]
    norms: Callable[[Params], Scalars]
    of_learning: Callable[[Any, Params], Any]
    declared: types.DeclaredNetwork
    observations: jax.ShapeDtypeStruct
    apply: Callable[[Params, jax.Array, jax.Array], Any]
    units: Callable[[Params, jax.Array, jax.Array], Mapping[str, Any]] | None = None
    measure_units: Callable[[Params, jax.Array, jax.Array], Mapping[str, Scalars]] | None = None
    measure_ranks: Callable[[Params, jax.Array, jax.Array], Mapping[str, Scalars]] | None = None
    measure_network: (
        Callable[
            [types.TrainState, jax.Array, types.Transition, jax.Array, types.Transition], Scalars
        ]
        | None
    ) = None
    packed: Packed | None = None

    def param_shapes(self) -> Params:
        """Shapes and types of the parameters."""
        init = lambda observations: self.init(jax.random.key(0), observations)  # noqa: E731
        return jax.eval_shape(init, self.observations).params


def action_values(output: Any) -> jax.Array:
    """The action values [B, A] in what `Agent.apply` returned."""
    return getattr(output, "q_values", output)


def is_rate(metric: str) -> bool:
    """Whether a metric is a learning rate: its last value is logged, not its mean."""
    return metric.endswith("learning_rate")


def make(sections: Sections, problem: Problem) -> Agent:
    """Builds the agent that `agents/<agent.module>.py` describes.

    Raises:
      ConfigError: if settings don't fit each other, or the problem.
    """
    return plugins.find(PACKAGE, sections.agent.module, "agent.module").make(sections, problem)

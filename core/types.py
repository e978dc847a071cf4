"""The types that agents, replays, environments and the rooms above them exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:  # processes that only decode need not wait for it
    import jax

LayerKind = Literal["hidden", "free", "output", "norm", "free_norm"]


class Transition(NamedTuple):
    """An n-step transition, batched [B, ...].

    Attributes:
      s_tm1: observations (frame stacks uint8 [B, S, H, W], or vectors).
      a_tm1: actions int32 [B].
      r_t: discounted n-step returns float32 [B].
      discount_t: the product of the discounts on the way, gamma**n unless the episode ended.
      s_t: observations to bootstrap from, n steps later or the last of a truncated episode.
    """

    s_tm1: jax.Array
    a_tm1: jax.Array
    r_t: jax.Array
    discount_t: jax.Array
    s_t: jax.Array


class Step(NamedTuple):
    """One step of every environment: a time step and the action chosen on it, each [N, ...].

    Attributes:
      observation: the newest observation (one frame, not a stack).
      is_first: bool, whether it starts an episode.
      is_last: bool, whether it ends one; its action is ignored.
      reward: float32, what arrived with the observation, as the learner sees it.
      discount: float32, likewise; 0 at a termination or a reported loss of life.
      action: int32, chosen on the observation.
    """

    observation: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    reward: jax.Array
    discount: jax.Array
    action: jax.Array


class TrainState(NamedTuple):
    """All that an agent's updates change: what is saved, published and mapped over seeds.

    Attributes:
      params: of the networks; what acting needs.
      target_params: of the target networks, laid out as the agent likes.
      opt_state: the optimizers'.
      updates: int32 [], how many were done.
      interventions: states of interventions by their names in the configuration; {} without any.
    """

    params: Any
    target_params: Any
    opt_state: Any
    updates: jax.Array
    interventions: Any


class DeclaredLayer(NamedTuple):
    """What a network declares about one of its layers.

    Attributes:
      module: the path of its parameters in their tree, names joined by "/".
      kind: "hidden" or "output" for weights with their biases, "free" for hidden ones whose scale
        matters, as of those that add to a residual stream; "norm" for the scale and offset of a
        normalization, "free_norm" for one that feeds an output layer, whose scale matters.
      weights: names of the leaves that are matrices or kernels; of a norm, its scales.
      biases: names of the others; of a norm, its offsets.
      noise: names of the leaves for a noisy layer's sigma, the partners of its means.
    """

    module: str
    kind: LayerKind
    weights: tuple[str, ...]
    biases: tuple[str, ...]
    noise: tuple[str, ...] = ()


class Reader(NamedTuple):
    """A layer that reads units.

    Attributes:
      module: the path of its parameters.
      positions: of each unit along the input's last axis: H * W of a flattened convolution, whose
        channel c is at c, c + C, c + 2C, ...; otherwise 1.
    """

    module: str
    positions: int


class DeclaredUnits(NamedTuple):
    """The hidden units of a layer, and what they are joined to.

    Attributes:
      name: as in `agents.base.Agent.units`.
      incoming: paths of the layer that leads into them, if there is one alone, and of their norm.
      readers: the layers that read them.
    """

    name: str
    incoming: tuple[str, ...]
    readers: tuple[Reader, ...] = ()


class DeclaredNetwork(NamedTuple):
    """What a network declares: its layers, and its hidden units in order."""

    layers: tuple[DeclaredLayer, ...] = ()
    units: tuple[DeclaredUnits, ...] = ()

    def under(self, name: str) -> DeclaredNetwork:
        """The same as a part of a larger tree of parameters, which has it under a name."""
        path = lambda module: f"{name}/{module}"  # noqa: E731
        return DeclaredNetwork(
            tuple(layer._replace(module=path(layer.module)) for layer in self.layers),
            tuple(
                DeclaredUnits(
                    path(units.name),
                    tuple(map(path, units.incoming)),
                    tuple(reader._replace(module=path(reader.module)) for reader in units.readers),
                )
                for units in self.units
            ),
        )

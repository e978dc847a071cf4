"""Which layers an intervention acts on, and when: keys that interventions have in common."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import optax

from core import checks, injected, settings
from plasticity import layers as layers_lib
from plasticity.interventions import base


@dataclasses.dataclass(frozen=True)
class LayerSettings:
    """The layers of an intervention; items of `interventions` begin with it."""

    layers: str = settings.key(
        ".*",
        checks.pattern(),
        "searched in the names of the layers (the column layer of layers.csv): which to act on",
    )

    def select(
        self, subject: base.Subject, module: str, kinds: Sequence[layers_lib.Kind] = ()
    ) -> list[layers_lib.Layer]:
        """The layers that the pattern is found in.

        Args:
          subject: has the layers.
          module: of the intervention, for the message.
          kinds: of layers that can be acted on at all; none: every kind.

        Raises:
          ConfigError: if there is none.
        """
        found = [
            layer
            for layer in layers_lib.find_layers(subject.shapes, subject.declare)
            if layer.name != injected.MODULE and (not kinds or layer.kind in kinds)
        ]
        chosen = [layer for layer in found if re.search(self.layers, layer.name)]
        if not chosen:
            names = ", ".join(layer.name for layer in found) or "none"
            raise checks.ConfigError(
                f"interventions: {module}.layers = {self.layers!r}: expected a pattern that is "
                f"found in one of {names}"
            )
        return chosen

    def matrices(
        self, subject: base.Subject, module: str, kinds: Sequence[layers_lib.Kind]
    ) -> list[str]:
        """The paths of the layers' weights, without a noisy layer's sigma, which is no map.

        Args:
          subject: has the layers.
          module: of the intervention, for the message.
          kinds: of layers that can be acted on.

        Raises:
          ConfigError: as `select` does.
        """
        noise = noise_paths(subject)
        found = self.select(subject, module, kinds)
        return [path for layer in found for path in layer.weights if path not in noise]


@dataclasses.dataclass(frozen=True)
class LeafSettings(LayerSettings):
    """The same, for interventions on numbers one by one."""

    include: Literal["all", "weights"] = settings.key(
        "all",
        checks.one_of("all", "weights"),
        "all parameters of the layers, or their matrices and kernels alone",
    )

    def paths(self, subject: base.Subject, module: str) -> tuple[str, ...]:
        """The paths of the leaves to act on; raises ConfigError as `select` does."""
        chosen = self.select(subject, module)
        if self.include == "all":
            return tuple(path for layer in chosen for path in layer.leaves.values())
        matrices = (*layers_lib.WEIGHTED, "sigma", "other")
        paths = tuple(p for x in chosen if x.kind in matrices for p in x.weights)
        if not paths:
            raise checks.ConfigError(
                f"interventions: {module}.include = 'weights': expected layers with weights, found "
                f"{', '.join(layer.name for layer in chosen)}"
            )
        return paths


def noise_paths(subject: base.Subject) -> set[str]:
    """The paths of noisy layers' sigmas, which are neither weights nor biases of a map."""
    return {f"['{x.module}']['{name}']" for x in subject.declared.layers for name in x.noise}


def period_key(default: int) -> int:
    """The key of an operation's period, `period_frames` mostly."""
    return settings.key(
        default,
        checks.integer(1),
        "frames between two times, counted from the first update on; at least those of an update",
    )


def period_updates(
    period_frames: int, subject: base.Subject, module: str, key: str = "period_frames"
) -> int:
    """The period in updates; raises ConfigError if it is shorter than one."""
    updates = int(period_frames / subject.frames_per_update)
    if updates < 1:
        raise checks.ConfigError(
            f"interventions: {module}.{key} = {period_frames}: expected at least the "
            f"{subject.frames_per_update:g} frames of an update"
        )
    return updates


def land(
    updates: Any,
    params: Any,
    place: Callable[[Mapping[str, jax.Array]], Mapping[str, jax.Array]],
) -> Any:
    """The updates of a constraint: they lead where it places the parameters.

    Args:
      updates: of the optimizer that it wraps.
      params: before them; optimizers with a constraint must be given them.
      place: from the parameters where the updates would land, by path, to those it changes.
    """
    assert params is not None, "an optimizer's update is given the parameters"
    before = layers_lib.leaves_by_path(params)
    placed = place(layers_lib.leaves_by_path(optax.apply_updates(params, updates)))
    return layers_lib.map_leaves(lambda path, _: placed[path] - before[path], updates, placed)

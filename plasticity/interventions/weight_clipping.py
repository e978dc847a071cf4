"""Weight clipping: parameters stay within kappa / sqrt(fan_in) (Elsayed et al. 2024).

Source: arXiv 2407.01704 and its code: weights and biases of every layer, the last included, within
kappa times the bound of the uniform initialization, which DQN Zoo's is as well.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from core import checks, settings
from plasticity import layers
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key(
        "weight_clipping", checks.one_of("weight_clipping"), "this intervention"
    )
    kappa: float = settings.key(
        2.0, checks.number(0, open_low=True), "of the bound", "Elsayed et al. 2024: 1 to 5"
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module, (*layers.WEIGHTED, "sigma"))
    shapes = layers.leaves_by_path(subject.shapes)
    limits = {}
    for layer in found:
        fan_in = max(_fan_in(shapes[path].shape) for path in layer.weights)
        limits |= dict.fromkeys(layer.leaves.values(), chosen.kappa / fan_in**0.5)

    def constrain(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def place(landing: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
            return {path: jnp.clip(landing[path], -most, most) for path, most in limits.items()}

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            updates, state = inner.update(updates, state, params)
            return selection.land(updates, params, place), state

        return optax.GradientTransformation(inner.init, update)

    return base.Intervention(constraint=constrain, held=frozenset(limits))


def _fan_in(shape: tuple[int, ...]) -> int:
    """Inputs of a unit of weights [..., units]."""
    fan_in = 1
    for size in shape[:-1]:
        fan_in *= size
    return fan_in

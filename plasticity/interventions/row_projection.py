"""NaP by rows: the vector that leads into each hidden unit stays at its initial norm.

A unit's vector is all of its layer's numbers that are its own: weights, bias and, of a noisy layer,
sigma (as NaP's `noisy = "joint"`). It is multiplied by one factor after each update. Where a norm
over the layer follows, this is not NaP: it fixes the ratios between units, which NaP leaves to
learning. In spirit SimbaV2's hyperspherical layers (Lee et al. 2025), whose radius is 1 and which
have a learned scale for each unit. A unit whose norm, or initial norm, is 0 is left as it is.
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
        "row_projection", checks.one_of("row_projection"), "this intervention"
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module, ("hidden",))

    def constrain(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> base.ConstraintState:
            leaves = layers.leaves_by_path(params)
            radii = {x.name: row_norms(leaves, x) for x in found}
            return base.ConstraintState(inner.init(params), radii)

        def place(
            landing: Mapping[str, jax.Array], of_layers: Mapping[str, jax.Array]
        ) -> dict[str, jax.Array]:
            placed = {}
            for layer in found:
                norms, radii = row_norms(landing, layer), of_layers[layer.name]
                factors = jnp.where((norms > 0) & (radii > 0), radii / (norms + (norms == 0)), 1)
                for path in layer.leaves.values():
                    shape = (1,) * (landing[path].ndim - 1) + factors.shape
                    placed[path] = landing[path] * factors.reshape(shape)
            return placed

        def update(
            updates: Any, state: Any, params: Any = None
        ) -> tuple[Any, base.ConstraintState]:
            updates, of_inner = inner.update(updates, state.inner, params)
            updates = selection.land(updates, params, lambda landing: place(landing, state.own))
            return updates, state._replace(inner=of_inner)

        return optax.GradientTransformation(init, update)

    paths = [path for layer in found for path in layer.leaves.values()]
    return base.Intervention(constraint=constrain, held=frozenset(paths))


def row_norms(leaves: Mapping[str, jax.Array], layer: layers.Layer) -> jax.Array:
    """The norm of each unit's vector [units], over all leaves of a layer, each [..., units]."""
    squares = [jnp.square(leaves[path]) for path in layer.leaves.values()]
    return jnp.sqrt(sum(jnp.sum(x, axis=tuple(range(x.ndim - 1))) for x in squares))

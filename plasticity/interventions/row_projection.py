"""NaP by rows: the vector that leads into each hidden unit stays at its initial norm.

A unit's vector is all of its layer's numbers that are its own: weights, bias and, of a noisy layer,
sigma (as NaP's `noisy = "joint"`). It is multiplied by one factor after each update. Where a norm
over the layer follows, this is not NaP: it fixes the ratios between units, which NaP leaves to
learning. In spirit SimbaV2's hyperspherical layers (Lee et al. 2025), whose radius is 1 and which
have a learned scale for each unit. A unit whose norm, or initial norm, is 0 is left as it is.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

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


class RowState(NamedTuple):
    """The wrapped optimizer's state, and the units' radii [units] by layer."""

    inner: Any
    radii: dict[str, jax.Array]


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module, ("hidden",))

    def constrain(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> RowState:
            leaves = layers.leaves_by_path(params)
            return RowState(inner.init(params), {x.name: row_norms(leaves, x) for x in found})

        def land(landing: Mapping[str, jax.Array], state: RowState) -> dict[str, jax.Array]:
            placed = {}
            for layer in found:
                norms, radii = row_norms(landing, layer), state.radii[layer.name]
                factors = jnp.where((norms > 0) & (radii > 0), radii / (norms + (norms == 0)), 1)
                for path in layer.leaves.values():
                    shape = (1,) * (landing[path].ndim - 1) + factors.shape
                    placed[path] = landing[path] * factors.reshape(shape)
            return placed

        def update(updates: Any, state: RowState, params: Any = None) -> tuple[Any, RowState]:
            updates, of_inner = inner.update(updates, state.inner, params)
            return selection.land(updates, params, lambda x: land(x, state)), state._replace(
                inner=of_inner
            )

        return optax.GradientTransformation(init, update)

    paths = [path for layer in found for path in layer.leaves.values()]
    return base.Intervention(constraint=constrain, held=frozenset(paths))


def row_norms(leaves: Mapping[str, jax.Array], layer: layers.Layer) -> jax.Array:
    """The norm of each unit's vector [units], over all leaves of a layer, each [..., units]."""
    squares = [jnp.square(leaves[path]) for path in layer.leaves.values()]
    return jnp.sqrt(sum(jnp.sum(x, axis=tuple(range(x.ndim - 1))) for x in squares))

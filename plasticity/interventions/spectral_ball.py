"""Spectral ball: no layer multiplies a vector's norm by more than `limit`.

After each update W <- W min(1, limit / sigma_max(W)), matrix by matrix, kernels as
[H W inputs, units]; biases are left alone. sigma_max comes from a power iteration that goes on from
update to update. This is a constraint: spectral normalization proper divides within the
forward pass (`network.spectral_norm`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from core import checks, settings, singular_values
from plasticity import layers
from plasticity.interventions import base, selection

_START_ITERATIONS = 30


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("spectral_ball", checks.one_of("spectral_ball"), "this intervention")
    layers: str = settings.key(
        "hidden$",
        checks.pattern(),
        "regular expression, searched in the names of layers: which to hold",
        "Gogianu et al. 2021: one hidden layer, not the output",
    )
    limit: float = settings.key(
        1.0, checks.number(0, open_low=True), "of the largest singular value", "ours"
    )
    iterations: int = settings.key(
        1, checks.integer(1), "of the power method in each update", "Gogianu et al. 2021"
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py.

    Its own state is the right singular vectors [units] by path.
    """
    paths = chosen.matrices(subject, chosen.module, layers.WEIGHTED)

    def constrain(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> base.ConstraintState:
            leaves = layers.leaves_by_path(params)
            advance = lambda w: singular_values.right_vector(w, _START_ITERATIONS)  # noqa: E731
            vectors = {path: advance(leaves[path]) for path in paths}
            return base.ConstraintState(inner.init(params), vectors)

        def update(
            updates: Any, state: Any, params: Any = None
        ) -> tuple[Any, base.ConstraintState]:
            updates, of_inner = inner.update(updates, state.inner, params)
            vectors = {}

            def land(landing: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
                placed = {}
                for path in paths:
                    w = landing[path]
                    v = singular_values.right_vector(w, chosen.iterations, state.own[path])
                    sigma = jnp.linalg.norm(w.reshape(-1, w.shape[-1]) @ v)
                    placed[path] = w * jnp.minimum(1, chosen.limit / jnp.maximum(sigma, 1e-12))
                    vectors[path] = v
                return placed

            updates = selection.land(updates, params, land)
            return updates, base.ConstraintState(of_inner, vectors)

        return optax.GradientTransformation(init, update)

    return base.Intervention(constraint=constrain, held=frozenset(paths))

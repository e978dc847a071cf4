"""Parseval regularization: holds the rows of hidden weights orthogonal (Chung et al. 2024).

Adds strength * (64 / width)^2 * ||W W^T - s I||_F^2 for every hidden layer, with a row of W for
each unit and width the number of rows. Source: arXiv 2412.07224 and its code, where s is the
square of the gain of orthogonal initialization, 2 for ReLU.
"""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity import layers
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("parseval", checks.one_of("parseval"), "this intervention")
    strength: float = settings.key(1e-4, checks.number(0), "of it", "Chung et al. 2024: 1e-3, 1e-4")
    scale: float = settings.key(2.0, checks.number(0), "s, the squared norm of a row")


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    paths = chosen.matrices(subject, chosen.module, ("hidden",))

    def loss(params, state, updates, context):
        del state, updates, context
        leaves = layers.leaves_by_path(params)
        total = sum((distance(leaves[path], chosen.scale) for path in paths), start=jnp.zeros(()))
        return chosen.strength * total, {"distance": total}

    return base.Intervention(regularizer=base.Regularizer(lambda params: (), loss))


def distance(w: jax.Array, scale: float) -> jax.Array:
    """(64 / units)^2 ||W^T W - s I||_F^2 of weights [..., units], a scalar."""
    columns = w.reshape(-1, w.shape[-1])
    units = columns.shape[1]
    gap = columns.T @ columns - scale * jnp.eye(units, dtype=w.dtype)
    return (64 / units) ** 2 * jnp.sum(jnp.square(gap))

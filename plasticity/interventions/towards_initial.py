"""Regularization towards the initial parameters: L2-init, or its Wasserstein form.

l2: strength / 2 * ||w - w0||^2 (Kumar et al. 2023, arXiv 2308.11958). wasserstein: the same of the
sorted numbers of each tensor, as a mean, so that only their distribution is held
(Lewandowski et al. 2024, arXiv 2406.06811): strength * mean of (sorted w - sorted w0)^2.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity import layers
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LeafSettings):
    """An item of `interventions`."""

    module: str = settings.key(
        "towards_initial", checks.one_of("towards_initial"), "this intervention"
    )
    form: Literal["l2", "wasserstein"] = settings.key(
        "l2", checks.one_of("l2", "wasserstein"), "of numbers one by one, or of each tensor sorted"
    )
    strength: float = settings.key(
        1e-3, checks.number(0), "of it", "Kumar et al. 2023: 1e-2 to 1e-5"
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py. Its state is the initial parameters."""
    paths = chosen.paths(subject, chosen.module)

    def init(params):
        leaves = layers.leaves_by_path(params)
        return {path: jnp.copy(leaves[path]) for path in paths}

    def loss(params, state, updates, context):
        del updates, context
        leaves = layers.leaves_by_path(params)
        terms = [distance(leaves[path], state[path], chosen.form) for path in paths]
        total = sum(terms, start=jnp.zeros(()))
        return chosen.strength * total, {"distance": total}

    return base.Intervention(regularizer=base.Regularizer(init, loss))


def distance(w: jax.Array, initial: jax.Array, form: str) -> jax.Array:
    """Half the squared distance, or the mean squared distance of the sorted numbers; a scalar."""
    if form == "l2":
        return jnp.sum(jnp.square(w - initial)) / 2
    return jnp.mean(jnp.square(jnp.sort(w.ravel()) - jnp.sort(initial.ravel())))

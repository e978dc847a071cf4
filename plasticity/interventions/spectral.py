"""Spectral regularization: holds the largest singular value of each layer at 1.

Adds strength * (sigma_max(W)^k - 1)^2 for each matrix and strength * ||b||^k for each bias
(Lewandowski et al. 2024, arXiv 2406.06811). sigma_max comes from a short power iteration.
"""

import dataclasses

import jax.numpy as jnp

from core import checks, settings, singular_values
from plasticity import layers
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("spectral", checks.one_of("spectral"), "this intervention")
    strength: float = settings.key(1e-4, checks.number(0), "of it", "ours")
    exponent: int = settings.key(2, checks.integer(2), "k", "Lewandowski et al. 2024")
    iterations: int = settings.key(
        8, checks.integer(1), "of the power method in each update, from a fixed start", "ours"
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module, layers.WEIGHTED)
    weights = chosen.matrices(subject, chosen.module, layers.WEIGHTED)
    noise = selection.noise_paths(subject)
    leaves_of = (
        path for layer in found for path in layer.leaves.values() if path not in layer.weights
    )
    biases = [path for path in leaves_of if path not in noise]

    def loss(params, state, updates, context):
        del state, updates, context
        leaves = layers.leaves_by_path(params)
        norms = [singular_values.largest(leaves[p], chosen.iterations) for p in weights]
        terms = [jnp.square(norm**chosen.exponent - 1) for norm in norms]
        terms += [jnp.sum(jnp.square(leaves[p])) ** (chosen.exponent / 2) for p in biases]
        total = sum(terms, start=jnp.zeros(()))
        return chosen.strength * total, {"largest": jnp.max(jnp.stack(norms))}

    return base.Intervention(regularizer=base.Regularizer(lambda params: (), loss))

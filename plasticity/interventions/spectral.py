"""Spectral regularization: holds the largest singular value of each layer at 1.

Adds strength * (sigma_max(W)^k - 1)^2 for each matrix and strength * ||b||^k for each bias
(Lewandowski et al. 2024, arXiv 2406.06811). sigma_max comes from a short power iteration.
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

    module: str = settings.key("spectral", checks.one_of("spectral"), "this intervention")
    strength: float = settings.key(1e-4, checks.number(0), "of it", "ours")
    exponent: int = settings.key(2, checks.integer(1), "k", "Lewandowski et al. 2024")
    iterations: int = settings.key(
        8, checks.integer(1), "of the power method in each update, from a fixed start", "ours"
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module, ("hidden", "output", "sigma"))
    weights = [path for layer in found for path in layer.weights]
    biases = [p for x in found for p in x.leaves.values() if p not in x.weights]

    def loss(params, state, updates, context):
        del state, updates, context
        leaves = layers.leaves_by_path(params)
        norms = [largest_singular_value(leaves[p], chosen.iterations) for p in weights]
        terms = [jnp.square(norm**chosen.exponent - 1) for norm in norms]
        terms += [jnp.sum(jnp.square(leaves[p])) ** (chosen.exponent / 2) for p in biases]
        total = sum(terms, start=jnp.zeros(()))
        return chosen.strength * total, {"largest": jnp.max(jnp.stack(norms))}

    return base.Intervention(regularizer=base.Regularizer(lambda params: (), loss))


def largest_singular_value(w: jax.Array, iterations: int) -> jax.Array:
    """sigma_max of weights [..., units] by power iteration, differentiable in w, a scalar."""
    matrix = w.reshape(-1, w.shape[-1])
    fixed = jax.lax.stop_gradient(matrix)
    start = jnp.ones(matrix.shape[1], matrix.dtype) + jnp.arange(matrix.shape[1]) / 1e3

    def step(v, _):
        v = fixed.T @ (fixed @ v)
        return v / (jnp.linalg.norm(v) + 1e-12), None

    v, _ = jax.lax.scan(step, start / jnp.linalg.norm(start), None, length=iterations)
    v = jax.lax.stop_gradient(v)
    return jnp.linalg.norm(matrix @ v)

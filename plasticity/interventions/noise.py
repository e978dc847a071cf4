"""Noisy updates: normal noise on every update, after the learning rate.

absolute: scale * N(0, 1). relative: each layer's noise is scaled so that its norm is `scale` times
its update's, the Brownian control of Lyle et al. 2023.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from core import checks, settings
from plasticity import layers
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("noise", checks.one_of("noise"), "this intervention")
    form: Literal["absolute", "relative"] = settings.key(
        "absolute",
        checks.one_of("absolute", "relative"),
        "scale * N(0, 1), or noise whose norm in each layer is scale times the update's",
    )
    scale: float = settings.key(
        1e-5, checks.number(0), "of the noise", "Dohare et al. 2024: 1e-5, absolute"
    )
    seed: int = settings.key(0, checks.integer(0, 2**31 - 1), "of the noise, beside the run's")


class NoiseState(NamedTuple):
    """The key of the next update's noise."""

    rng: jax.Array


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module)

    def init(params: Any) -> NoiseState:
        # Of the initial parameters, so that every seed of a run has noise of its own.
        total = sum(jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(params))
        bits = jax.lax.bitcast_convert_type(jnp.asarray(total, jnp.float32), jnp.uint32)
        return NoiseState(jax.random.fold_in(jax.random.key(chosen.seed), bits))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, NoiseState]:
        del params
        rng, own = jax.random.split(state.rng)
        return add(updates, own, found, chosen), NoiseState(rng)

    return base.Intervention(transform=optax.GradientTransformation(init, update))


def add(updates: Any, rng: jax.Array, found: list[layers.Layer], chosen: Settings) -> Any:
    """The updates with noise on the leaves of these layers."""
    leaves = layers.leaves_by_path(updates)
    noise = {}
    for i, layer in enumerate(found):
        keys = jax.random.split(jax.random.fold_in(rng, i), len(layer.leaves))
        own = {
            path: jax.random.normal(key, leaves[path].shape, leaves[path].dtype)
            for path, key in zip(layer.leaves.values(), keys)
        }
        factor = jnp.asarray(chosen.scale, jnp.float32)
        if chosen.form == "relative":
            norm = layers.group_norm(own, layer)
            factor = factor * layers.group_norm(leaves, layer) / jnp.where(norm > 0, norm, 1)
        noise |= {path: factor.astype(x.dtype) * x for path, x in own.items()}
    return layers.map_leaves(lambda path, leaf: leaf + noise[path], updates, noise)

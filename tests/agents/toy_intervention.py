"""An intervention for tests: an L2 regularizer, and an operation that does nothing but count."""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity.interventions import base


@dataclasses.dataclass(frozen=True)
class Settings:
    """An item of `interventions`."""

    module: str = settings.key(__name__, checks.text(), "this intervention")
    strength: float = settings.key(0.0, checks.number(0), "of the regularizer")


def make(chosen: Settings, subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    del subject

    def loss(params, state, updates, context):
        del state, updates, context
        squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
        return chosen.strength * squares, {"squares": squares}

    def apply(state, count, rng, transition):
        del rng, transition
        return state, count + 1, {"count": count + 1}

    return base.Intervention(
        regularizer=base.Regularizer(lambda params: (), loss),
        operation=base.Operation(lambda params: jnp.zeros((), jnp.int32), apply),
    )

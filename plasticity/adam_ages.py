"""Adam with an age for each element, so that a part of the parameters can begin anew.

Adam corrects the bias of its moments by one count for all. Where a unit's moments are set to 0
without it, its first updates are up to 6.6 times too large (betas of 0.9 and 0.999). With an age
for each element (`moments.reset` sets it to 0) they are those of a new run, to 1e-4. An element
that was never reset has optax.scale_by_adam's updates bit for bit. Source of the idea: AdamGnT of
Dohare et al. 2024.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class AdamAgesState(NamedTuple):
    """Updates in all and of each element since it began, int32; its first and second moments."""

    count: jax.Array
    ages: Any
    mu: Any
    nu: Any


def scale_by_adam_ages(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """The same as optax.scale_by_adam, with ages.

    Args:
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to the root of the second moment.
    """

    def init(params: Any) -> AdamAgesState:
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
        ages = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.int32), params)
        return AdamAgesState(jnp.zeros((), jnp.int32), ages, zeros(), zeros())

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AdamAgesState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        ages = jax.tree.map(lambda age: age + 1, state.ages)
        count = state.count + 1

        def scale(age, m, v):
            m = m / _correction(b1, age, count).astype(m.dtype)
            v = v / _correction(b2, age, count).astype(v.dtype)
            return m / (jnp.sqrt(v) + eps)

        return jax.tree.map(scale, ages, mu, nu), AdamAgesState(count, ages, mu, nu)

    return optax.GradientTransformation(init, update)


def adam_ages(
    learning_rate: optax.ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """The same as optax.adam, with ages."""
    return optax.chain(scale_by_adam_ages(b1, b2, eps), optax.scale_by_learning_rate(learning_rate))


def _correction(decay: float, ages: jax.Array, count: jax.Array) -> jax.Array:
    """1 - decay^ages: optax's power where nothing was reset; it is too slow for each element."""
    log = math.log(decay) if decay else -math.inf
    power = jnp.exp(ages.astype(jnp.float32) * log)
    return 1 - jnp.where(ages == count, decay**count, power)

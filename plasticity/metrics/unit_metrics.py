"""What hidden units do on a batch: dormant, dead, linearised and active ones.

Pure functions of one network's activations; vmap them over a seed axis.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

Scalars = dict[str, jax.Array]

DORMANT_THRESHOLDS = (0.0, 0.025, 0.1)

_LINEAR_VARIANCE = 1e-3
_OFF_SLOPE = 0.1
_SATURATED = 0.99


class Units(Protocol):
    """Of a layer: pre [B, ..., C] before and post [B, ..., C or 2C] after its nonlinearity."""

    @property
    def pre(self) -> jax.Array: ...  # noqa: D102
    @property
    def post(self) -> jax.Array: ...  # noqa: D102


class Slope(NamedTuple):
    """Of a nonlinearity.

    Attributes:
      derivative: element by element.
      is_piecewise: whether that takes few values.
      saturates: whether the nonlinearity goes to -1 and 1, as tanh does.
    """

    derivative: Callable[[jax.Array], jax.Array]
    is_piecewise: bool
    saturates: bool = False


def measure(seen: Mapping[str, Units], slope: Slope) -> dict[str, Scalars]:
    """{quantity: {layer: scalar}} of the units seen on a batch.

    dormant_<tau>, dead, linearised and active are shares of the layer's units, or of its features
    where a unit makes two; feature_norm is the mean norm of the layer's output; pre_mean and
    pre_variance are means over its units of their pre-activations' mean and variance.

    Args:
      seen: by layer.
      slope: of the nonlinearity.
    """
    posts = {name: units.post for name, units in seen.items()}
    of_units = {name: moments(units.pre) for name, units in seen.items()}
    dormant = {f"dormant_{tau:g}": dormant_fractions(posts, tau)[0] for tau in DORMANT_THRESHOLDS}
    return {
        **dormant,
        "dead": dead_fractions(posts),
        "linearised": {name: linearised_fraction(x.pre, slope) for name, x in seen.items()},
        "active": active_fractions(posts, slope.saturates),
        "feature_norm": {name: feature_norm(h) for name, h in posts.items()},
        "pre_mean": {name: jnp.mean(mean) for name, (mean, _) in of_units.items()},
        "pre_variance": {name: jnp.mean(variance) for name, (_, variance) in of_units.items()},
    }


def dormant_fractions(
    activations: Mapping[str, jax.Array], threshold: float
) -> tuple[Scalars, jax.Array, jax.Array]:
    """Fractions of units whose mean |activation| is at most `threshold` of their layer's mean.

    The score of a unit is E|h_i| / (mean over the layer's units of E|h_k| + 1e-9), as in
    Dopamine (Sokar et al. 2023, arXiv 2302.12902, eq. 1).

    Args:
      activations: of hidden layers, [B, ..., units] each, after the nonlinearity. A convolution's
        channel is a unit; its expectation runs over the batch and the positions.
      threshold: tau, e.g. one of DORMANT_THRESHOLDS.

    Returns:
      The fraction per layer; the fraction of all units (Dopamine's); the layers' plain mean
      (Plasticine's).
    """
    is_dormant = {name: scores(h) <= threshold for name, h in activations.items()}
    fractions = {name: jnp.mean(unit, dtype=jnp.float32) for name, unit in is_dormant.items()}
    of_all = jnp.mean(jnp.concatenate(list(is_dormant.values())), dtype=jnp.float32)
    return fractions, of_all, jnp.mean(jnp.stack(list(fractions.values())))


def dead_fractions(activations: Mapping[str, jax.Array]) -> Scalars:
    """Fraction of each layer's units that are 0 for every input (and at every position)."""
    return {name: _fraction_of_units(h == 0) for name, h in activations.items()}


def linearised_fraction(pre: jax.Array, slope: Slope) -> jax.Array:
    """The share of units that act linearly: their slope is the same for every input.

    Of a piecewise linear nonlinearity exactly the same, and not 0: ReLUs that are positive for
    every input (Lyle et al. 2024, arXiv 2402.18762). Of a smooth one its variance is below 1e-3 and
    its mean beyond 0.1, as that of a unit that is off is not; the paper has no thresholds.

    Args:
      pre: pre-activations [B, ..., C].
      slope: of the nonlinearity.
    """
    slopes = slope.derivative(pre).reshape(-1, pre.shape[-1])
    if slope.is_piecewise:
        is_linear = jnp.all(slopes == slopes[:1], axis=0) & (slopes[0] != 0)
    else:
        is_off = jnp.abs(jnp.mean(slopes, axis=0)) < _OFF_SLOPE
        is_linear = (jnp.var(slopes, axis=0) < _LINEAR_VARIANCE) & ~is_off
    return jnp.mean(is_linear, dtype=jnp.float32)


def active_fractions(activations: Mapping[str, jax.Array], saturates: bool = False) -> Scalars:
    """The share of active outputs in each layer, over batch, positions and units.

    They are positive or, of a nonlinearity that saturates at -1 and 1, between -0.99 and 0.99.
    """
    is_active = lambda h: jnp.abs(h) <= _SATURATED if saturates else h > 0  # noqa: E731
    return {name: jnp.mean(is_active(h), dtype=jnp.float32) for name, h in activations.items()}


def feature_norm(h: jax.Array) -> jax.Array:
    """The mean over the batch of the norm of a layer's output [B, ...]."""
    return jnp.mean(jnp.linalg.norm(h.reshape(h.shape[0], -1), axis=-1))


def scores(h: jax.Array) -> jax.Array:
    """E|h_i| of each unit over the mean of its layer, [C], for activations [B, ..., C]."""
    means = jnp.mean(jnp.abs(h).reshape(-1, h.shape[-1]), axis=0)
    return means / (jnp.mean(means) + 1e-9)


def _fraction_of_units(holds: jax.Array) -> jax.Array:
    """The share of units (last axis) for which a property holds everywhere."""
    everywhere = jnp.all(holds.reshape(-1, holds.shape[-1]), axis=0)
    return jnp.mean(everywhere, dtype=jnp.float32)


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means and variances [C] over batch and positions of x [B, ..., C]."""
    x = x.reshape(-1, x.shape[-1])
    return jnp.mean(x, axis=0), jnp.var(x, axis=0)

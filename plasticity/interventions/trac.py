"""TRAC: scales how far parameters have moved from where they began, without parameters of its own.

Source: Muppidi et al. 2024 (arXiv 2405.16642) and its code, which begins as here. Around the
whole optimizer, with its update u and the gradient g (before clipping):

  D = (w - w0) / (s + eps)
  h = <D, g> over all parameters; v <- beta^2 v + h^2, sigma <- beta sigma - h for each beta
  s = sum over betas of s0 / erfi(1 / sqrt 2) * erfi(sigma / (sqrt(2 v) + eps))
  w <- w0 + max(s, 0) (D + u)

s begins near 1e-8, so that s D is far below the last digit of w in float32. The distance w - w0 is
therefore carried as a number of its own, to which is added what others have done to w since.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from core import checks, settings
from plasticity.interventions import base

_SERIES_END, _SERIES_TERMS, _ASYMPTOTIC_TERMS, _LARGEST = 5.0, 70, 9, 9.0
_ERFI_OF_HALF_ROOT = 0.9534382692512609  # erfi(1 / sqrt 2)


@dataclasses.dataclass(frozen=True)
class Settings:
    """An item of `interventions`."""

    module: str = settings.key("trac", checks.one_of("trac"), "this intervention")
    betas: tuple[float, ...] = settings.key(
        (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999),
        checks.not_empty(checks.each(checks.number(0, 1))),
        "one tuner each",
        "Muppidi et al. 2024",
    )
    start_scale: float = settings.key(
        1e-8, checks.number(0, open_low=True), "s0, of each tuner", "Muppidi et al. 2024"
    )
    epsilon: float = settings.key(
        1e-8, checks.number(0, open_low=True), "eps, and sigma at first", "Muppidi et al. 2024"
    )


class Tuners(NamedTuple):
    """Of each beta, float32 [betas]: v, sigma and its part of s."""

    variance: jax.Array
    sigma: jax.Array
    scale: jax.Array


class Moved(NamedTuple):
    """How far the parameters have moved.

    Attributes:
      tuners: see there.
      reference: w0.
      distance: w - w0 as of the last update, with all its digits.
      landed: w as of the last update.
    """

    tuners: Tuners
    reference: Any
    distance: Any
    landed: Any


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    del subject
    return base.Intervention(constraint=lambda inner: around(inner, chosen))


def around(inner: optax.GradientTransformation, chosen: Settings) -> optax.GradientTransformation:
    """The optimizer with TRAC around it."""

    def init(params: Any) -> base.ConstraintState:
        copy = lambda: jax.tree.map(jnp.copy, params)  # noqa: E731
        distance = jax.tree.map(jnp.zeros_like, params)
        moved = Moved(new_tuners(chosen), copy(), distance, copy())
        return base.ConstraintState(inner.init(params), moved)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, base.ConstraintState]:
        assert params is not None, "an optimizer's update is given the parameters"
        grads, own = updates, state.own
        updates, of_inner = inner.update(grads, state.inner, params)
        before = jnp.sum(own.tuners.scale) + chosen.epsilon
        unscaled = jax.tree.map(
            lambda d, w, landed: (d + (w - landed)) / before.astype(w.dtype),
            *(own.distance, params, own.landed),
        )
        products = jax.tree.map(lambda d, g: jnp.sum(d * g, dtype=float), unscaled, grads)
        product = sum(jax.tree.leaves(products), start=jnp.zeros(()))
        tuners = advance(own.tuners, product, chosen)
        scale = jnp.maximum(jnp.sum(tuners.scale), 0)
        distance = jax.tree.map(lambda d, u: scale.astype(d.dtype) * (d + u), unscaled, updates)
        updates = jax.tree.map(lambda w0, d, w: (w0 + d) - w, own.reference, distance, params)
        landed = optax.apply_updates(params, updates)
        moved = Moved(tuners, own.reference, distance, landed)
        return updates, base.ConstraintState(of_inner, moved)

    return optax.GradientTransformation(init, update)


def new_tuners(chosen: Settings) -> Tuners:
    """As at the start."""
    size = len(chosen.betas)
    return Tuners(jnp.zeros(size), jnp.full(size, chosen.epsilon), jnp.zeros(size))


def advance(tuners: Tuners, product: jax.Array, chosen: Settings) -> Tuners:
    """The tuners after an update whose h is `product`, a scalar."""
    betas = jnp.asarray(chosen.betas, tuners.sigma.dtype)
    product = product.astype(betas.dtype)
    variance = betas**2 * tuners.variance + product**2
    sigma = betas * tuners.sigma - product
    quotient = sigma / (math.sqrt(2) * jnp.sqrt(variance) + chosen.epsilon)
    factor = chosen.start_scale / _ERFI_OF_HALF_ROOT
    return Tuners(variance, sigma, factor * erfi(quotient))


def erfi(x: jax.Array) -> jax.Array:
    """The imaginary error function -i erf(i x), for float32 numbers of any shape.

    2 / sqrt(pi) times its power series up to |x| = 5, all of whose terms have one sign, so that no
    digits cancel; its asymptotic series exp(x^2) / (x sqrt(pi)) (1 + 1 / (2 x^2) + 3 / (4 x^4) ...)
    beyond. Above 9, where float32 ends, as at 9.
    """
    size = jnp.minimum(jnp.abs(x), _LARGEST)
    small, large = jnp.minimum(size, _SERIES_END), jnp.maximum(size, _SERIES_END)

    def add(n, carry):
        total, term = carry
        term = term * jnp.square(small) / n
        return total + term / (2 * n + 1), term

    series, _ = jax.lax.fori_loop(1, _SERIES_TERMS, add, (small, small))
    tail, inverse = jnp.ones_like(large), 1 / (2 * jnp.square(large))
    for n in range(_ASYMPTOTIC_TERMS, 0, -1):
        tail = 1 + (2 * n - 1) * inverse * tail
    # exp(x^2) as a product, as x^2 alone loses the digits after its last.
    head = jnp.round(large * 16) / 16
    power = jnp.exp(jnp.square(head)) * jnp.exp((large - head) * (large + head))
    asymptotic = power * tail / (large * math.sqrt(math.pi))
    return jnp.sign(x) * jnp.where(size < _SERIES_END, series * 2 / math.sqrt(math.pi), asymptotic)

"""LayerNorm for few kernels: each pass over the activations gathers all the sums it can."""

import functools
import math
from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp


class LayerNorm(hk.Module):
    """hk.LayerNorm with a scale and an offset for each channel, up to rounding."""

    def __init__(self, axis: slice | int, epsilon: float, name: str):
        """Creates the norm.

        Args:
          axis: over which the statistics run, as for hk.LayerNorm.
          epsilon: added to the variance.
          name: the Haiku module's name.
        """
        super().__init__(name=name)
        self._axis, self._epsilon = axis, epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes x [B, ..., C]."""
        scale, offset = self.parameters(x.shape[-1])
        shape = (1,) * (x.ndim - 1) + scale.shape
        axes = tuple(range(1, x.ndim)) if isinstance(self._axis, slice) else (x.ndim - 1,)
        return layer_norm(x, scale.reshape(shape), offset.reshape(shape), axes, self._epsilon)

    def parameters(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """The scale and the offset, [channels]."""
        scale = hk.get_parameter("scale", (channels,), init=jnp.ones)
        return scale, hk.get_parameter("offset", (channels,), init=jnp.zeros)


def normalize_each(x: jax.Array, norms: Sequence[LayerNorm], epsilon: float) -> jax.Array:
    """Normalizes x [B, S, C] over C, with a norm for each of S."""
    scales, offsets = zip(*[norm.parameters(x.shape[-1]) for norm in norms])
    return layer_norm(x, jnp.stack(scales)[None], jnp.stack(offsets)[None], (2,), epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def layer_norm(
    x: jax.Array, scale: jax.Array, offset: jax.Array, axes: tuple[int, ...], epsilon: float
) -> jax.Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset.

    Over several axes the variance is E[x^2] - E[x]^2, from the same pass over x as the mean. The
    gradient is written out: derived, it has twice as many passes.

    Args:
      x: [B, ..., C].
      scale: of as many axes as x, each as long as x's or 1.
      offset: likewise.
      axes: over which mean and variance run.
      epsilon: added to the variance.
    """
    return _forward(x, scale, offset, axes, epsilon)[0]


def _forward(x, scale, offset, axes, epsilon):
    if len(axes) == 1:  # short enough for a kernel to keep: two passes cost nothing
        mean = jnp.mean(x, axes, keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axes, keepdims=True)
    else:
        mean, square = _means(x, jnp.square(x), axes)
        variance = jnp.maximum(square - jnp.square(mean), 0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * inverse * scale + offset, (x, scale, mean, inverse)


def _backward(axes, epsilon, residuals, dy):
    del epsilon
    x, scale, mean, inverse = residuals
    normalized = (x - mean) * inverse
    d_normalized = dy * scale
    d_mean, along = _means(d_normalized, d_normalized * normalized, axes)
    dx = inverse * (d_normalized - d_mean - normalized * along)
    others = tuple(i for i in range(x.ndim) if scale.shape[i] == 1)
    return dx, *_sums(dy * normalized, dy, others)


layer_norm.defvjp(_forward, _backward)


def _means(x: jax.Array, y: jax.Array, axes: tuple[int, ...]) -> Sequence[jax.Array]:
    size = math.prod(x.shape[axis] for axis in axes)
    return [z / size for z in _sums(x, y, axes)]


def _sums(x: jax.Array, y: jax.Array, axes: tuple[int, ...]) -> Sequence[jax.Array]:
    """The sums of two arrays of one shape over the same axes, which stay with length 1."""
    add = lambda a, b: (a[0] + b[0], a[1] + b[1])  # noqa: E731
    zero = jnp.zeros((), x.dtype)
    sums = jax.lax.reduce((x, y), (zero, zero), add, axes)
    return [jnp.expand_dims(z, axes) for z in sums]

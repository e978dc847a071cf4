"""The largest singular value of weights, by the power method."""

import jax
import jax.numpy as jnp


def largest(w: jax.Array, iterations: int) -> jax.Array:
    """sigma_max of weights [..., units], differentiable in w, a scalar.

    Kernels are taken as matrices [H W inputs, units].
    """
    v = right_vector(jax.lax.stop_gradient(w), iterations)
    squares = jnp.sum(jnp.square(w.reshape(-1, w.shape[-1]) @ v))
    # The root's slope at 0 is infinite.
    return jnp.sqrt(jnp.maximum(squares, 1e-30))


def right_vector(w: jax.Array, iterations: int, start: jax.Array | None = None) -> jax.Array:
    """The right singular vector [units] of sigma_max, of norm 1.

    Args:
      w: weights [..., units].
      iterations: of the power method.
      start: from which vector; None: from a fixed one.
    """
    matrix = w.reshape(-1, w.shape[-1])
    fixed = jnp.ones(matrix.shape[1], matrix.dtype) + jnp.arange(matrix.shape[1]) / 1e3
    first = fixed / jnp.linalg.norm(fixed) if start is None else start

    def step(v, _):
        after = matrix.T @ (matrix @ v)
        norm = jnp.linalg.norm(after)
        # Of a matrix of zeros every direction is as good: it must not become 0 for ever.
        return jnp.where(norm > 0, after / (norm + 1e-12), v), None

    return jax.lax.scan(step, first, None, length=iterations)[0]

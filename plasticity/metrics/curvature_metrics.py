"""How a network's outputs and losses depend on its parameters: Jacobians, kernels, sharpness.

Pure functions of a function and a point; vmap them over a seed axis. None of them holds more than a
few gradients at once, so that large networks can be measured.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from plasticity.metrics import layer_metrics, rank_metrics

Scalars = dict[str, jax.Array]

_POWER_ITERATIONS = 20
_RANK_SHARE = 0.01
_GRADIENTS_AT_ONCE = 8
# Outputs whose gradients are taken one by one.
_MOST_EXACT = 8


class Cosines(NamedTuple):
    """Of the gradients of a batch's examples.

    Attributes:
      mean: of the cosines of different examples.
      negative_share: of these that are below 0.
      effective_rank: of the matrix of cosines, 1 for parallel gradients, B for orthogonal ones.
    """

    mean: jax.Array
    negative_share: jax.Array
    effective_rank: jax.Array


class Kernel(NamedTuple):
    """Of the empirical neural tangent kernel on a batch.

    Attributes:
      effective_rank: of the kernel.
      largest_share: its largest eigenvalue over its trace.
      rank_99: how many of its largest eigenvalues make up 99 % of the trace.
      off_diagonal_ratio: the mean of the others over the mean of the diagonal's elements.
    """

    effective_rank: jax.Array
    largest_share: jax.Array
    rank_99: jax.Array
    off_diagonal_ratio: jax.Array


def gram(gradient: Callable[[Any], Any], examples: Any) -> jax.Array:
    """The products [B, B] of the gradients of single examples.

    Args:
      gradient: one example -> its gradient, a tree.
      examples: arrays [B, ...] of them.
    """
    size = jax.tree.leaves(examples)[0].shape[0]
    # All gradients at once would take B times the memory of the parameters.
    block = math.gcd(size, _GRADIENTS_AT_ONCE)
    blocks = jax.tree.map(lambda x: x.reshape(-1, block, *x.shape[1:]), examples)

    def rows(of_block):
        gradients = jax.vmap(gradient)(of_block)
        return jnp.concatenate([g.reshape(block, -1) for g in jax.tree.leaves(gradients)], axis=1)

    def against_all(of_block):
        own = rows(of_block)
        return jax.lax.map(lambda other: own @ rows(other).T, blocks)

    products = jax.lax.map(against_all, blocks)
    return jnp.swapaxes(products, 1, 2).reshape(size, size)


def cosines(products: jax.Array) -> Cosines:
    """Of a Gram matrix [B, B] of gradients; examples without a gradient have cosines of 0."""
    norms = jnp.sqrt(jnp.clip(jnp.diagonal(products), 0))
    matrix = layer_metrics.divide(products, norms[:, None] * norms[None, :])
    others = ~jnp.eye(matrix.shape[0], dtype=bool)
    count = jnp.sum(others)
    return Cosines(
        mean=jnp.sum(jnp.where(others, matrix, 0)) / count,
        negative_share=jnp.sum(jnp.where(others, matrix < 0, False)) / count,
        effective_rank=rank_metrics.effective_rank(_eigenvalues(matrix)),
    )


def kernel(products: jax.Array) -> Kernel:
    """Of a kernel [B, B]."""
    size = products.shape[0]
    values = _eigenvalues(products)
    trace = jnp.trace(products)
    diagonal_mean = trace / size
    other_mean = (jnp.sum(products) - trace) / (size * (size - 1))
    return Kernel(
        effective_rank=rank_metrics.effective_rank(values),
        largest_share=layer_metrics.divide(values[0], jnp.sum(values)),
        rank_99=rank_metrics.srank(values, _RANK_SHARE),
        off_diagonal_ratio=layer_metrics.divide(other_mean, diagonal_mean),
    )


def parameter_jacobian_norm(
    function: Callable[[Any, jax.Array], jax.Array], params: Any, inputs: jax.Array, rng: jax.Array
) -> jax.Array:
    """sqrt(mean over inputs of ||df / d params||_F^2), of a function with K outputs.

    With at most 8 outputs exactly, one by one; with more the squared norm of an input is estimated
    without bias by ||J^T v||^2, v ~ N(0, I).

    Args:
      function: (params, inputs [1, ...]) -> [1, K].
      params: where to differentiate.
      inputs: [B, ...].
      rng: for v.
    """

    def square(arguments):
        x, key = arguments
        output, pull_back = jax.vjp(lambda p: function(p, x[None]), params)
        directions = jax.random.normal(key, output.shape, output.dtype)
        if output.shape[1] <= _MOST_EXACT:
            directions = jnp.eye(output.shape[1], dtype=output.dtype)

        def squared_norm(direction):
            (gradient,) = pull_back(direction[None])
            return sum((jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradient)), start=0.0)

        return jnp.sum(jax.lax.map(squared_norm, directions))

    keys = jax.random.split(rng, inputs.shape[0])
    return jnp.sqrt(jnp.mean(jax.lax.map(square, (inputs, keys))))


def input_jacobian_norm(function: Callable[[jax.Array], jax.Array], inputs: jax.Array) -> jax.Array:
    """sqrt(mean over inputs of ||df / dx||_F^2), exact, of a function with K outputs.

    Args:
      function: inputs [B, ...] -> [B, K], each input by itself.
      inputs: floats [B, ...].
    """
    outputs, pull_back = jax.vjp(function, inputs)

    def of_output(k):
        cotangent = jnp.zeros_like(outputs).at[:, k].set(1)
        return jnp.sum(jnp.square(pull_back(cotangent)[0]))

    squares = jax.lax.map(of_output, jnp.arange(outputs.shape[1]))
    return jnp.sqrt(jnp.sum(squares) / inputs.shape[0])


def sharpness(
    loss: Callable[[Any], jax.Array],
    params: Any,
    rng: jax.Array,
    num_iterations: int = _POWER_ITERATIONS,
) -> jax.Array:
    """The Hessian's eigenvalue of largest absolute value, with its sign, by power iteration.

    Args:
      loss: params -> scalar, on a fixed batch.
      params: where.
      rng: of the first direction.
      num_iterations: products with the Hessian.
    """
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(rng, len(leaves))
    start = treedef.unflatten(
        [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves)]
    )
    # Twice backwards: losses with clipped gradients can't be differentiated forwards.
    product = lambda v: jax.grad(lambda p: _dot(jax.grad(loss)(p), v))(params)  # noqa: E731

    def iterate(_, v):
        return _normalize(product(v))

    v = jax.lax.fori_loop(0, num_iterations, iterate, _normalize(start))
    return _dot(v, product(v))


def _eigenvalues(matrix: jax.Array) -> jax.Array:
    """Of a symmetric matrix without negative ones, largest first; rounding errors are cut."""
    return jnp.clip(jnp.linalg.eigvalsh(matrix)[::-1], 0)


def _dot(x: Any, y: Any) -> jax.Array:
    products = jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), x, y))
    return jnp.sum(jnp.stack(products))


def _normalize(x: Any) -> Any:
    norm = jnp.sqrt(_dot(x, x))
    return jax.tree.map(lambda leaf: layer_metrics.divide(leaf, norm), x)

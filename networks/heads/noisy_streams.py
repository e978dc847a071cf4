"""Noisy layers of several streams as one product, for few kernels and few bytes.

A noisy weight is never formed: x(mu + sigma * e_in e_out^T) = x mu + ((x * e_in) sigma) * e_out, so
that means and sigmas are read once for all passes that share them, and nothing of their size is
written but their gradient. As `networks/linear.py` does for one draw per row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from networks import linear, noise


class _Streams(NamedTuple):
    """The weights [I, O] of S layers, and their noise [P, S, I] and [P, S, O] in P passes."""

    weights: Sequence[tuple[jax.Array, jax.Array]]
    inputs: jax.Array
    outputs: jax.Array


def product(x: jax.Array, layers: Sequence[linear.NoisyParts]) -> jax.Array:
    """The outputs [B, S, O] of S layers of one size for the same x [B, I]."""
    weights = [(parts.mu, parts.sigma) for parts in layers]
    inputs, outputs = (jnp.stack(part) for part in zip(*(parts.noise for parts in layers)))
    streams = _Streams(weights, inputs[:, 0][None], outputs[:, 0][None])
    bias = jnp.stack([parts.bias[0] for parts in layers])
    return _product(x[None], streams)[0] + bias[None]


@jax.custom_vjp
def _product(x: jax.Array, streams: _Streams) -> jax.Array:
    """The outputs [P, B, S, O] for x [P, B, I]."""
    return _outputs(x, streams)


def _outputs(x: jax.Array, streams: _Streams) -> jax.Array:
    # What is mapped in its own way can't be differentiated twice.
    return _of_passes(x, streams) if noise.groups() else _plain(x, streams)


def _forward(x: jax.Array, streams: _Streams):
    return _outputs(x, streams), (x, streams)


def _backward(residuals, dy: jax.Array):
    x, streams = residuals
    dy = jnp.moveaxis(dy, 2, 0)
    rows, d_rows = _scaled(x[None], streams.inputs), _scaled(dy, streams.outputs)
    d_weights = jnp.einsum("nbi,nbo->nio", rows, d_rows)
    # Behind a barrier, so that the compiler finds the slices, joined again, to be this array.
    flat = jax.lax.optimization_barrier(d_weights.reshape(-1, d_weights.shape[-1]))
    leaves = jnp.split(flat, len(d_weights))
    dx = jnp.einsum("nbo,nio->nbi", d_rows, _stacked(streams))
    dx = dx.reshape(-1, 2, *x.shape)
    dx = jnp.sum(dx[:, 0] + dx[:, 1] * _factors(streams.inputs), axis=0)
    return dx, _Streams(list(zip(leaves[::2], leaves[1::2])), None, None)  # pyright: ignore


_product.defvjp(_forward, _backward)


def _plain(x: jax.Array, streams: _Streams) -> jax.Array:
    """The outputs [P, B, S, O] for x [P, B, I]."""
    y = jnp.einsum("nbi,nio->nbo", _scaled(x[None], streams.inputs), _stacked(streams))
    y = y.reshape(-1, 2, *x.shape[:2], y.shape[-1])
    return jnp.moveaxis(y[:, 0] + y[:, 1] * _factors(streams.outputs), 0, 2)


_of_passes = jax.custom_batching.custom_vmap(_plain)


@_of_passes.def_vmap
def _of_batch(axis_size: int, in_batched, x: jax.Array, streams: _Streams):
    """Passes that share their weights are one product; others are mapped as usual."""
    groups = noise.groups()
    if sum(groups) != axis_size or not all(jax.tree.leaves(in_batched)):
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, in_batched)
        return jax.vmap(_plain, in_axes=tuple(axes))(x, streams), True
    found, begin = [], 0
    for size in groups:
        x_, own = jax.tree.map(lambda a, b=begin, n=size: a[b : b + n], (x, streams))
        own = own._replace(
            weights=[(mu[0], sigma[0]) for mu, sigma in own.weights],
            inputs=own.inputs[:, 0],
            outputs=own.outputs[:, 0],
        )
        found.append(_plain(x_[:, 0], own)[:, None])
        begin += size
    return jnp.concatenate(found), True


def _scaled(x: jax.Array, factors: jax.Array) -> jax.Array:
    """Rows [S or 1, P, B, N] as they are and times the factors [P, S, N]: [2 S, P * B, N]."""
    scaled = x * _factors(factors)
    both = jnp.stack([jnp.broadcast_to(x, scaled.shape), scaled], axis=1)
    return both.reshape(2 * both.shape[0], -1, both.shape[-1])


def _factors(factors: jax.Array) -> jax.Array:
    """[P, S, N] for arrays [S, P, B, N]."""
    return jnp.moveaxis(factors, 1, 0)[:, :, None]


def _stacked(streams: _Streams) -> jax.Array:
    """All weights, [2 S, I, O]; no copy if few_kernels/packing.py has them in this order."""
    weights = [weight for pair in streams.weights for weight in pair]
    return jnp.concatenate(weights).reshape(len(weights), *weights[0].shape)

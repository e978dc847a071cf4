"""A two-level sum tree on the device: leaves in blocks, and the blocks' sums.

With sqrt(M) blocks, finding a leaf reads about 2 sqrt(M) numbers, in two vector operations and no
pointer chasing. Changing leaves re-sums their blocks from scratch, so rounding never builds up.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class SumTree(NamedTuple):
    """M rows of N leaves, each with a weight and a flag.

    Attributes:
      weights: float32 [blocks, rows a block * N], >= 0.
      present: bool, the same shape: whether the leaf may be drawn at all.
      weight_sums: float32 [blocks].
      counts: int32 [blocks], of present leaves.
    """

    weights: jax.Array
    present: jax.Array
    weight_sums: jax.Array
    counts: jax.Array


def init(num_rows: int, num_envs: int) -> SumTree:
    """A tree of num_rows x num_envs absent leaves."""
    rows = rows_per_block(num_rows, num_envs)
    blocks = math.ceil(num_rows / rows)
    shape = (blocks, rows * num_envs)
    return SumTree(
        weights=jnp.zeros(shape, jnp.float32),
        present=jnp.zeros(shape, bool),
        weight_sums=jnp.zeros(blocks, jnp.float32),
        counts=jnp.zeros(blocks, jnp.int32),
    )


def rows_per_block(num_rows: int, num_envs: int) -> int:
    """Rows in a block, so that a block has about sqrt(rows * environments) leaves."""
    return max(1, round(math.sqrt(num_rows / num_envs)))


def set_weights(tree: SumTree, leaves: jax.Array, weights: jax.Array) -> SumTree:
    """Sets the weights of leaves that are present, and stay so.

    Duplicates get the largest weight; leaves past the end are ignored.

    Args:
      tree: the tree.
      leaves: flat numbers row * N + environment, int32 [L].
      weights: float32 [L].
    """
    block_size = tree.weights.shape[1]
    block, offset = leaves // block_size, leaves % block_size
    cleared = tree.weights.at[block, offset].set(0.0, mode="drop")
    new_weights = cleared.at[block, offset].max(weights, mode="drop")
    return _resum_weights(tree._replace(weights=new_weights), block)


def set_rows(
    tree: SumTree, rows: jax.Array, num_envs: int, weights: jax.Array, present: jax.Array
) -> SumTree:
    """Sets whole rows int32 [R] to weights float32 [R, N] and flags bool [R, N].

    The rows must differ. Cheaper than leaf by leaf: a row lies in one block.
    """
    rows_each = tree.weights.shape[1] // num_envs
    shape = (tree.weights.shape[0], rows_each, num_envs)
    block, offset = rows // rows_each, rows % rows_each
    new_weights = tree.weights.reshape(shape).at[block, offset].set(jnp.where(present, weights, 0))
    new_present = tree.present.reshape(shape).at[block, offset].set(present)
    tree = tree._replace(
        weights=new_weights.reshape(tree.weights.shape),
        present=new_present.reshape(tree.present.shape),
    )
    return _resum(tree, block)


def _resum(tree: SumTree, block: jax.Array) -> SumTree:
    counts = jnp.sum(tree.present[block], axis=1, dtype=jnp.int32)
    tree = tree._replace(counts=tree.counts.at[block].set(counts, mode="drop"))
    return _resum_weights(tree, block)


def _resum_weights(tree: SumTree, block: jax.Array) -> SumTree:
    sums = jnp.sum(tree.weights[block], axis=1)
    return tree._replace(weight_sums=tree.weight_sums.at[block].set(sums, mode="drop"))


def sample(tree: SumTree, uniform: jax.Array, uniform_mix: float) -> tuple[jax.Array, jax.Array]:
    """Draws leaves from (1 - mix) * weights / sum(weights) + mix * present / count(present).

    Inverts the cumulative sum of that one mixed distribution, block by block, then within the
    block. If all weights are 0 the draw is uniform over the leaves that are present.

    Args:
      tree: a tree with at least one leaf present.
      uniform: float32 [2, B] in [0, 1), independent: one for the block, one for the leaf in it. A
        single float32 has only 2**23 values, which is coarse for a share of one in a million.
      uniform_mix: share of the uniform distribution, in [0, 1].

    Returns:
      Leaves int32 [B] and their probabilities float32 [B].
    """
    chex.assert_shape(uniform, (2, None))
    total, count = jnp.sum(tree.weight_sums), jnp.sum(tree.counts)
    mix = jnp.where(total > 0, uniform_mix, 1.0)
    weight_scale = jnp.where(total > 0, (1.0 - mix) / jnp.where(total > 0, total, 1.0), 0.0)
    count_scale = mix / jnp.maximum(count, 1).astype(jnp.float32)

    def mixed(weights: jax.Array, present: jax.Array) -> jax.Array:
        return weights * weight_scale + present.astype(jnp.float32) * count_scale

    block = _invert(mixed(tree.weight_sums, tree.counts)[None], uniform[0])
    leaf_mass = mixed(tree.weights[block], tree.present[block])
    offset = _invert(leaf_mass, uniform[1])
    probability = jnp.take_along_axis(leaf_mass, offset[:, None], axis=1)[:, 0]
    return block * tree.weights.shape[1] + offset, probability


def _invert(mass: jax.Array, uniform: jax.Array) -> jax.Array:
    """Per row, the first index whose cumulative mass exceeds `uniform` times the total.

    Args:
      mass: float32 [B or 1, L], >= 0.
      uniform: float32 [B] in [0, 1).

    Returns:
      Indices int32 [B], never one without mass: the cumulative sum of a parallel scan is not quite
      monotone, so rounding alone could select one.
    """
    cumulative = jnp.cumsum(mass, axis=1)
    target = uniform[:, None] * cumulative[:, -1:]
    positions = jnp.arange(mass.shape[1], dtype=jnp.int32)[None]
    last = jnp.max(jnp.where(mass > 0, positions, 0), axis=1, keepdims=True)
    exceeds = (mass > 0) & (cumulative > target)
    return jnp.min(jnp.where(exceeds, positions, last), axis=1)

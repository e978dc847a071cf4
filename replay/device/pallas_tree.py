"""What an update does with a sum tree, each step as one kernel: a program for each transition.

Triton wants lengths that are powers of 2, so blocks are read with zeros behind their ends.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jax.experimental.pallas import triton

from core import formulations
from replay.device import sum_tree


def sample(
    tree: sum_tree.SumTree, uniform: jax.Array, uniform_mix: float
) -> tuple[jax.Array, jax.Array]:
    """sum_tree.sample, up to rounding: a number at the boundary may lead to the next leaf.

    Args:
      tree: a tree with at least one leaf present.
      uniform: float32 [2, B] in [0, 1), independent.
      uniform_mix: share of the uniform distribution.

    Returns:
      Leaves int32 [B] and their probabilities float32 [B].
    """
    batch_size = uniform.shape[1]
    shapes = [jax.ShapeDtypeStruct((batch_size,), dtype) for dtype in (jnp.int32, jnp.float32)]
    kernel = functools.partial(_draw, uniform_mix=uniform_mix)
    leaves, probabilities = formulations.call_kernel(kernel, batch_size, shapes, [*tree, uniform])
    return leaves, probabilities


def _draw(weights, present, weight_sums, counts, uniform, leaves, probabilities, uniform_mix):
    """The kernel of `sample`, for a draw."""
    i = pallas.program_id(0)
    num_blocks, block_size = weights.shape
    blocks, exists = _positions(num_blocks)
    sums = triton.load(weight_sums.at[blocks], mask=exists, other=0.0)
    present_each = triton.load(counts.at[blocks], mask=exists, other=0)
    total, count = jnp.sum(sums), jnp.sum(present_each)
    # Arrays, as Triton can't choose between two Python numbers.
    mix = jnp.where(total > 0, jnp.full_like(total, uniform_mix), jnp.ones_like(total))
    weight_scale = (1.0 - mix) / jnp.where(total > 0, total, jnp.ones_like(total))
    count_scale = mix / jnp.maximum(count, 1).astype(jnp.float32)

    def mixed(weights: jax.Array, present: jax.Array) -> jax.Array:
        return weights * weight_scale + present.astype(jnp.float32) * count_scale

    block = _invert(mixed(sums, present_each), uniform[0, i])
    offsets, exists = _positions(block_size)
    weights_in = triton.load(weights.at[block, offsets], mask=exists, other=0.0)
    present_in = triton.load(present.at[block, offsets], mask=exists, other=False)
    mass = mixed(weights_in, present_in)
    offset = _invert(mass, uniform[1, i])
    leaves[i] = block * block_size + offset
    probabilities[i] = jnp.sum(jnp.where(offsets == offset, mass, jnp.zeros_like(mass)))


def _positions(length: int) -> tuple[jax.Array, jax.Array]:
    """Positions of a padded vector, and which of them are within its length."""
    positions = jnp.arange(pallas.next_power_of_2(length), dtype=jnp.int32)
    return positions, positions < length


def _invert(mass: jax.Array, uniform: jax.Array) -> jax.Array:
    """sum_tree._invert of one row [L], for one number."""
    cumulative = jnp.cumsum(mass)
    # The largest, not the last: a value can't be indexed.
    target = uniform * jnp.max(cumulative)
    positions = jnp.arange(mass.size, dtype=jnp.int32)
    last = jnp.max(jnp.where(mass > 0, positions, jnp.zeros_like(positions)))
    return jnp.min(jnp.where((mass > 0) & (cumulative > target), positions, last))


def set_priorities(
    tree: sum_tree.SumTree,
    max_priority: jax.Array,
    leaves: jax.Array,
    is_stored: jax.Array,
    priorities: jax.Array,
    exponent: float,
) -> tuple[sum_tree.SumTree, jax.Array]:
    """Sets the weights of leaves to priorities**exponent, of duplicates to the largest.

    Args:
      tree: the tree.
      max_priority: float32 [], the largest priority so far.
      leaves: int32 [B]; those that are not present stay as they are.
      is_stored: bool [B], which of them may change.
      priorities: float32 [B].
      exponent: omega.

    Returns:
      The tree, and the largest priority now.
    """
    changed = [tree.weights, tree.weight_sums, max_priority[None]]
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in changed]
    kernel = functools.partial(_set, exponent=exponent)
    operands = [*changed, tree.present, leaves, is_stored, priorities]
    weights, weight_sums, largest = formulations.call_kernel(
        kernel, leaves.size, shapes, operands, aliases={i: i for i in range(len(changed))}
    )
    return tree._replace(weights=weights, weight_sums=weight_sums), largest[0]


def _set(*references, exponent):
    """The kernel of `set_priorities`: writes and sums the block of one leaf.

    Programs don't wait for each other: those of one block write the same numbers.
    """
    _, _, largest_before, present, leaves, is_stored, priorities, *changed = references
    weights, weight_sums, largest = changed
    all_leaves, new = leaves[...], priorities[...]
    block_size = weights.shape[1]
    blocks, offsets = all_leaves // block_size, all_leaves % block_size
    is_live = is_stored[...]
    is_live &= triton.load(present.at[blocks, offsets], mask=is_live, other=False)
    largest[0] = jnp.maximum(largest_before[0], jnp.max(jnp.where(is_live, new, 0.0)))
    block = leaves[pallas.program_id(0)] // block_size
    positions, exists = _positions(block_size)
    is_here = (is_live & (blocks == block))[:, None] & (offsets[:, None] == positions[None])
    new_row = jnp.max(jnp.where(is_here, (new**exponent)[:, None], -1.0), axis=0)
    row = triton.load(weights.at[block, positions], mask=exists, other=0.0)
    row = jnp.where(new_row < 0, row, new_row)
    triton.store(weights.at[block, positions], row, mask=exists)
    weight_sums[block] = jnp.sum(row)

"""rainbow_losses.py and its gradient as one kernel: a program for each transition.

Triton wants lengths that are powers of 2, so actions and atoms are padded. Atoms behind the end
have no probability.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jax.experimental.pallas import triton

from core import formulations, types

# A logit of probability 0; -inf would become not a number.
_LOWEST = -1e30


def losses(
    logits: Sequence[jax.Array], transition: types.Transition, atoms: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """rainbow_losses.losses, up to rounding, with the q-values, whose gradient is 0.

    Args:
      logits: [B, A, atoms], of the online network at s_tm1, of what chooses the target's action at
        s_t if it is not the target network, and of that at s_t.
      transition: the batch.
      atoms: the support [atoms] of all of them.

    Returns:
      Losses [B], and the online network's q-values at s_tm1, [B, A].
    """
    online, *others = logits
    signals = (transition.a_tm1, transition.r_t, transition.discount_t)
    return _losses(online, others, signals, atoms)


@jax.custom_vjp
def _losses(online, others, signals, atoms):
    return _forward(online, others, signals, atoms)[0]


def _forward(online, others, signals, atoms):
    """Losses and q-values, and each loss's gradient by its own online logits, [B, A, atoms]."""
    # The passes' outputs are parts of such an array, so that it need not be put together.
    logits = jnp.stack([online, *others])
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in (online.shape[:1], online.shape[:2], online.shape)
    ]
    operands = [logits, *signals, atoms]
    found = formulations.call_kernel(_one_loss, online.shape[0], shapes, operands)
    losses, q_values, gradients = found
    return (losses, q_values), gradients


def _backward(gradients, cotangents):
    of_losses, _ = cotangents
    return gradients * of_losses[:, None, None], None, None, None


_losses.defvjp(_forward, _backward)


def _one_loss(logits, actions, rewards, discounts, atoms, losses, q_values, gradients):
    """The kernel, for one transition."""
    i = pallas.program_id(0)
    num_passes, _, num_actions, num_atoms = logits.shape
    rows = jnp.arange(pallas.next_power_of_2(num_actions))
    columns = jnp.arange(pallas.next_power_of_2(num_atoms))
    is_action, is_atom = rows < num_actions, columns < num_atoms
    is_inside = is_action[:, None] & is_atom[None]
    support = triton.load(atoms.at[columns], mask=is_atom, other=0.0)

    def of_pass(k: int) -> jax.Array:
        at = logits.at[k, i, rows[:, None], columns[None]]
        # Rows of no action are even, not empty.
        return jnp.where(is_atom[None], triton.load(at, mask=is_inside, other=0.0), _LOWEST)

    online, action = of_pass(0), actions[i]
    best = _argmax(jnp.where(is_action, _values(of_pass(1), support), _LOWEST))
    target_probs, _ = _softmax(_row(of_pass(num_passes - 1), best))
    low, high = atoms[0], atoms[num_atoms - 1]
    shifted = jnp.minimum(jnp.maximum(rewards[i] + discounts[i] * support, low), high)
    distances = jnp.abs(shifted[:, None] - support[None]) / ((high - low) / (num_atoms - 1))
    probs = jnp.sum(target_probs[:, None] * jnp.maximum(1 - distances, 0.0), axis=0)
    probs = jnp.where(is_atom, probs, 0.0)
    online_probs, log_probs = _softmax(_row(online, action))
    losses[i] = -jnp.sum(probs * jnp.where(is_atom, log_probs, 0.0))
    gradient = online_probs * jnp.sum(probs) - probs
    gradient = jnp.where((rows == action)[:, None], gradient[None], 0.0)
    triton.store(gradients.at[i, rows[:, None], columns[None]], gradient, mask=is_inside)
    triton.store(q_values.at[i, rows], _values(online, support), mask=is_action)


def _values(logits: jax.Array, support: jax.Array) -> jax.Array:
    """The means [A] of distributions [A, atoms]."""
    return jnp.sum(_softmax(logits)[0] * support[None], axis=1)


def _softmax(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Probabilities along the last axis, and their logarithms."""
    axis = logits.ndim - 1
    logits -= jnp.max(logits, axis=axis, keepdims=True)
    exponentials = jnp.exp(logits)
    sums = jnp.sum(exponentials, axis=axis, keepdims=True)
    return exponentials / sums, logits - jnp.log(sums)


def _argmax(values: jax.Array) -> jax.Array:
    """The first of the largest values [A]."""
    numbers = jnp.arange(values.size)
    return jnp.min(jnp.where(values == jnp.max(values), numbers, values.size))


def _row(array: jax.Array, row: jax.Array) -> jax.Array:
    """A row of [A, atoms], which can't be indexed."""
    is_row = jnp.arange(array.shape[0]) == row
    return jnp.sum(jnp.where(is_row[:, None], array, 0.0), axis=0)

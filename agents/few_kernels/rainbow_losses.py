"""The loss of agents/rainbow.py for few kernels: sums in place of gathers and scatters."""

import jax
import jax.numpy as jnp

from core import types
from networks.heads import c51


def losses(
    output_tm1: c51.C51Output,
    selector: c51.C51Output,
    target: c51.C51Output,
    transition: types.Transition,
    atoms: jax.Array,
) -> jax.Array:
    """rainbow.categorical_double_q_losses, up to rounding; the atoms are evenly spaced.

    An atom of the target at x gives each atom z of the support its share
    max(0, 1 - |x - z| / spacing), which is rlax's projection for such a support.
    """
    num_actions = output_tm1.q_logits.shape[1]
    best = jnp.argmax(selector.q_values, axis=1)
    target_probs = jax.nn.softmax(_of_actions(target.q_logits, best, num_actions))
    spacing = (atoms[-1] - atoms[0]) / (atoms.size - 1)
    x = transition.r_t[:, None] + transition.discount_t[:, None] * atoms[None]
    x = jnp.clip(x, atoms[0], atoms[-1])
    shares = jnp.maximum(0, 1 - jnp.abs(x[:, :, None] - atoms[None, None]) / spacing)
    probs = jax.lax.stop_gradient(jnp.sum(target_probs[:, :, None] * shares, axis=1))
    log_probs = jax.nn.log_softmax(_of_actions(output_tm1.q_logits, transition.a_tm1, num_actions))
    return -jnp.sum(probs * log_probs, axis=1)


def _of_actions(logits: jax.Array, actions: jax.Array, num_actions: int) -> jax.Array:
    """The logits [B, atoms] of actions [B], of all actions' [B, A, atoms]."""
    is_action = actions[:, None] == jnp.arange(num_actions)[None]
    return jnp.sum(jnp.where(is_action[:, :, None], logits, 0), axis=1)

"""How much an update changes what a network says of inputs that it was not made from.

Source: Tang & Berseth 2024 (value and policy churn).
"""

import chex
import jax
import jax.numpy as jnp


def churn(before: jax.Array, after: jax.Array) -> dict[str, jax.Array]:
    """value_churn: mean |q' - q|; action_churn: the share of inputs whose best action changed.

    Args:
      before: action values [B, A].
      after: the same, of other parameters.
    """
    chex.assert_equal_shape([before, after])
    changed = jnp.argmax(before, axis=-1) != jnp.argmax(after, axis=-1)
    return {
        "value_churn": jnp.mean(jnp.abs(after - before)),
        "action_churn": jnp.mean(changed, dtype=jnp.float32),
    }

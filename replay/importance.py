"""Importance weights of transitions that were not drawn uniformly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class ImportanceSchedule(NamedTuple):
    """The exponent of the importance weights, linear in the number of steps added to the replay.

    As in DQN Zoo: from `begin` at `begin_steps` (when learning starts) to `end` at `end_steps`.
    """

    begin: float
    end: float
    begin_steps: int
    end_steps: int

    def __call__(self, steps: jax.Array) -> jax.Array:
        """The exponent after `steps` added transitions, float32 []."""
        # A float: the length of an endless run may overflow an int32.
        duration = float(max(1, self.end_steps - self.begin_steps))
        fraction = jnp.clip((steps - self.begin_steps) / duration, 0.0, 1.0)
        return self.begin + fraction * (self.end - self.begin)


def weights(probabilities: jax.Array, exponent: jax.Array) -> jax.Array:
    """(1 / p)**exponent, divided by the batch's largest (Schaul et al. 2016), float32 [B]."""
    # The smallest p of the batch first: (p_min / p)**exponent can't overflow.
    return (jnp.min(probabilities) / probabilities) ** exponent

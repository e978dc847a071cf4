"""The loss of agents that learn quantiles of the return (Dabney et al. 2018, arXiv 1710.10044)."""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings, types
from networks.heads import quantiles


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """The keys of the loss."""

    kappa: float = settings.key(
        1.0,
        checks.number(0),
        "beyond which the loss of an error is linear (Huber's); 0: it is linear everywhere",
        "DQN Zoo",
    )


def greedy_targets(
    transition: types.Transition, target: quantiles.QuantileOutput, q_values: jax.Array
) -> jax.Array:
    """r_t + discount_t times the target's quantiles of the action with the best value, [B, N].

    Args:
      transition: the batch.
      target: at s_t.
      q_values: at s_t, [B, A]; they choose the action.
    """
    best = jnp.argmax(q_values, axis=-1)
    chosen = _of_actions(target.quantiles, best)
    return transition.r_t[:, None] + transition.discount_t[:, None] * chosen


def losses_of(
    output: quantiles.QuantileOutput, actions: jax.Array, targets: jax.Array, kappa: float
) -> jax.Array:
    """Losses [B]: means over the targets, sums over the quantiles, of |tau - 1(error < 0)| Huber.

    Args:
      output: the online network at s_tm1.
      actions: those taken, [B].
      targets: samples of what their returns are to be, [B, N]; they get no gradient.
      kappa: Huber's bound.
    """
    import rlax  # slow to import, and only learning needs it

    batch_loss = jax.vmap(rlax.quantile_regression_loss, in_axes=(0, 0, 0, None))
    return batch_loss(  # pyright: ignore[reportReturnType]  (rlax says Numeric)
        _of_actions(output.quantiles, actions), output.taus, jax.lax.stop_gradient(targets), kappa
    )


def _of_actions(values: jax.Array, actions: jax.Array) -> jax.Array:
    """From quantiles [B, N, A] those of actions [B], [B, N]."""
    return jax.vmap(lambda of_row, action: of_row[:, action])(values, actions)

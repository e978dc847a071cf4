"""C-CHAIN: holds down churn, by which values of states move that were not trained on.

Source: Tang et al. 2025 (arXiv 2506.00592) and its code. Adds c times the mean over states and
actions of (q(x) - q_before(x))^2, q_before with the parameters of one update ago. The states are
those of the batch of two updates ago, on which neither this update nor the last one is made.
c follows the two losses: c = share * mean |loss| / mean churn. The code's means are over the last
50,000 updates; these are exponential with a half-life of 35,000, over as many updates if each is
counted by its weight, and need no lists.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity.interventions import base


@dataclasses.dataclass(frozen=True)
class Settings:
    """An item of `interventions`."""

    module: str = settings.key("c_chain", checks.one_of("c_chain"), "this intervention")
    share: float = settings.key(
        0.01, checks.number(0), "of the loss that the term is to have", "its code"
    )
    start_coefficient: float = settings.key(
        50.0, checks.number(0), "c until it is adapted", "its code"
    )
    adapt_after_updates: int = settings.key(
        10_000, checks.integer(0), "from which update on c is adapted", "its code"
    )
    half_life_updates: int = settings.key(
        35_000, checks.integer(1), "of the means", "ours, for its code's lists of 50,000"
    )
    batch_size: int = settings.key(
        32, checks.integer(1), "states; of a smaller batch some come twice", "its code"
    )


class ChurnState(NamedTuple):
    """What the term remembers.

    Attributes:
      before: parameters of one update ago.
      newest: observations of the last update's batch [batch_size, ...].
      reference: those of the one before.
      loss: mean |loss| without bias correction, float32 [].
      churn: mean churn likewise.
      count: updates since it began, int32 []; fewer than the run's after a reset.
    """

    before: Any
    newest: jax.Array
    reference: jax.Array
    loss: jax.Array
    churn: jax.Array
    count: jax.Array


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""

    def init(params):
        shape = (chosen.batch_size, *subject.observations.shape[1:])
        empty = lambda: jnp.zeros(shape, subject.observations.dtype)  # noqa: E731
        before = jax.tree.map(jnp.copy, params)
        return ChurnState(before, empty(), empty(), jnp.zeros(()), jnp.zeros(()), jnp.int32(0))

    def loss(params, state, updates, context):
        del updates
        # The same noise for both: a network that did not change has no churn.
        now = context.q_values(params, context.rng, state.reference)
        before = context.q_values(state.before, context.rng, state.reference)
        churn = jnp.mean(jnp.square(now - jax.lax.stop_gradient(before)))
        churn = jnp.where(_has_reference(state), churn, 0)
        factor = coefficient(state, chosen)
        return factor * churn, {"churn": churn, "coefficient": factor}

    def advance(state, updates, done):
        del updates
        rows = jnp.arange(chosen.batch_size) % done.transition.s_tm1.shape[0]
        state = average(state, done.loss, done.scalars["churn"], chosen)
        return state._replace(
            before=done.params, newest=done.transition.s_tm1[rows], reference=state.newest
        )

    return base.Intervention(regularizer=base.Regularizer(init, loss, advance))


def _has_reference(state: ChurnState) -> jax.Array:
    """Whether there is a batch of two updates ago."""
    return state.count >= 2


def coefficient(state: ChurnState, chosen: Settings) -> jax.Array:
    """The factor c, float32 []; the means' bias corrections cancel."""
    is_known = (state.count >= chosen.adapt_after_updates) & (state.churn > 0)
    adapted = chosen.share * state.loss / jnp.where(is_known, state.churn, 1)
    return jnp.where(is_known, adapted, chosen.start_coefficient)


def average(state: ChurnState, loss: jax.Array, churn: jax.Array, chosen: Settings) -> ChurnState:
    """The state with its means advanced by an update's loss and churn, if it had any."""
    weight = jnp.where(_has_reference(state), 1 - 0.5 ** (1 / chosen.half_life_updates), 0)
    weight = weight.astype(jnp.float32)
    move = lambda old, new: old + weight * (new.astype(old.dtype) - old)  # noqa: E731
    return state._replace(
        loss=move(state.loss, jnp.abs(loss)),
        churn=move(state.churn, churn),
        count=state.count + 1,
    )

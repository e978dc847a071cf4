"""One update of an agent on one batch: what the learners of all modes of running have in common."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents import base as agents_base
from plasticity import layers
from plasticity import metrics as plasticity_metrics
from plasticity import projection as projection_lib
from replay import base as replay_base

Metrics = Mapping[str, jax.Array]

FINITE = ("loss", "gradient_norm", "priority")
"""Metrics of an update that must be finite: if one is not, neither are the next parameters or
priorities. Their mean over several updates is finite only if each of them was."""


class Trained(NamedTuple):
    """What an update changes.

    Attributes:
      params, target_params: of the network.
      opt_state: the optimizer's.
      updates: int32 [], how many were done.
    """

    params: Any
    target_params: Any
    opt_state: Any
    updates: jax.Array


class ImportanceSchedule(NamedTuple):
    """The exponent of the importance weights, linear in the number of steps added to the replay.

    As DQN Zoo: from `begin` at `begin_steps` (when learning starts) to `end` at `end_steps`.
    """

    begin: float
    end: float
    begin_steps: int
    end_steps: int

    def __call__(self, steps: jax.Array) -> jax.Array:
        """The exponent after `steps` added transitions, float32 []."""
        # A float: the length of a run that is to go on for ever may be more than an int32 holds.
        duration = float(max(1, self.end_steps - self.begin_steps))
        fraction = jnp.clip((steps - self.begin_steps) / duration, 0.0, 1.0)
        return self.begin + fraction * (self.end - self.begin)


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """Loss, optimizer, projection, and the target's copy when it is due.

    Attributes:
      agent: the algorithm.
      optimizer: from gradients to updates, projection included.
      projection: what the projection takes for a layer, and where it puts it.
      max_priority: new priorities are clipped to it.
      target_period_updates: the target network is copied every so many updates.
    """

    agent: agents_base.Agent
    optimizer: optax.GradientTransformation
    projection: projection_lib.ProjectionSettings
    max_priority: float
    target_period_updates: int

    def init(self, rng: jax.Array, stack: jax.Array) -> Trained:
        """The state of a new agent, whose observations are as `stack` [B, ...]."""
        params = self.init_params(rng, stack)
        return Trained(
            params=params,
            # A buffer of its own: the two are given away together.
            target_params=jax.tree.map(jnp.copy, params),
            opt_state=self.optimizer.init(params),
            updates=jnp.zeros((), jnp.int32),
        )

    def init_params(self, rng: jax.Array, stack: jax.Array) -> Any:
        """New parameters, at their radii, so that the first projection is no jump."""
        params = self.agent.init(rng, stack)
        if not self.projection.enabled:
            return params
        radii = projection_lib.initial_radii(params, self.projection)
        return projection_lib.project_params(params, radii, self.projection)

    def __call__(
        self,
        trained: Trained,
        rng: jax.Array,
        transition: replay_base.Transition,
        weights: jax.Array,
    ) -> tuple[Trained, jax.Array, Metrics]:
        """Does an update on a batch.

        Args:
          trained: the state before.
          rng: of the loss.
          transition: the batch [B, ...].
          weights: importance weights float32 [B].

        Returns:
          The state after, the batch's new priorities float32 [B], and scalars by name.
        """
        grads, updates, opt_state, loss, output = self._step(trained, rng, transition, weights)
        params = optax.apply_updates(trained.params, updates)
        num_updates = trained.updates + 1
        after = Trained(
            params=params,
            target_params=self._copied_if_due(params, trained.target_params, num_updates),
            opt_state=opt_state,
            updates=num_updates,
        )
        priorities = jnp.minimum(output.priorities, self.max_priority)
        metrics = {
            **output.metrics,
            "loss": loss,
            "gradient_norm": optax.global_norm(grads),
            "priority": jnp.mean(priorities),
        }
        return after, priorities, metrics

    def _step(
        self,
        trained: Trained,
        rng: jax.Array,
        transition: replay_base.Transition,
        weights: jax.Array,
    ):
        """Gradients, updates, the optimizer's state, loss and LossOutput for one batch."""
        value_and_grad = jax.value_and_grad(self.agent.loss, has_aux=True)
        (loss, output), grads = value_and_grad(
            trained.params, trained.target_params, rng, transition, weights
        )
        updates, opt_state = self.optimizer.update(grads, trained.opt_state, trained.params)
        return grads, updates, opt_state, loss, output

    def _copied_if_due(self, params: Any, target_params: Any, num_updates: jax.Array) -> Any:
        is_due = num_updates % self.target_period_updates == 0
        return jax.lax.cond(is_due, lambda: params, lambda: target_params)

    def measure(
        self,
        trained: Trained,
        rng: jax.Array,
        transition: replay_base.Transition,
        weights: jax.Array,
    ) -> Mapping[str, Metrics]:
        """{quantity: {layer: []}} of an update that is not carried out. Arguments: as of a call.

        norm: ||W||; gradient_norm: before clipping; update_ratio: ||dW|| / ||W||, the projection's
        part of dW included.
        """
        grads, updates, *_ = self._step(trained, rng, transition, weights)
        params, settings = trained.params, self.projection
        found = layers.find_layers(
            params, settings.output_pattern, settings.free_norm_pattern, settings.noisy
        )
        return {
            "norm": plasticity_metrics.layer_norms(params, found),
            "gradient_norm": plasticity_metrics.layer_norms(grads, found),
            "update_ratio": plasticity_metrics.update_ratios(updates, params, found),
        }


def importance_weights(probabilities: jax.Array, exponent: jax.Array) -> jax.Array:
    """(1 / p)**exponent, divided by the batch's largest (Schaul et al. 2016), float32 [B]."""
    # The smallest p of the batch first: (p_min / p)**exponent can't overflow.
    return (jnp.min(probabilities) / probabilities) ** exponent

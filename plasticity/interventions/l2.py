"""L2 regularization: plain, incremental or periodic (coupled: its gradient goes through Adam).

Adds strength(k) * sum of squares to the loss, without a half, so that the gradient is
2 strength(k) w. AdamW, whose decay does not go through the moments, is `optimizer.name = adamw`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity import layers
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LeafSettings):
    """An item of `interventions`."""

    module: str = settings.key("l2", checks.one_of("l2"), "this intervention")
    strength: float = settings.key(1e-5, checks.number(0), "at first", "Lyle et al. 2024 tried it")
    end_strength: float | None = settings.key(
        None,
        checks.optional(checks.number(0)),
        "incremental: to which the strength goes linearly; None: it stays",
    )
    begin_frames: int = settings.key(0, checks.integer(0), "incremental: where the rise begins")
    duration_frames: int = settings.key(
        10_000_000, checks.integer(1), "incremental: how long it takes"
    )
    on_frames: int = settings.key(
        0, checks.integer(0), "periodic: how long it is on, first of all; both 0: always"
    )
    off_frames: int = settings.key(0, checks.integer(0), "periodic: how long it is off then")

    def at(self, updates: jax.Array, frames_per_update: float) -> jax.Array:
        """The strength after so many updates, int32 [] -> float32 []."""
        strength = jnp.float32(self.strength)
        if self.end_strength is not None:
            begin = self.begin_frames / frames_per_update
            share = jnp.clip((updates - begin) / (self.duration_frames / frames_per_update), 0, 1)
            strength = strength + (self.end_strength - strength) * share
        if self.on_frames and self.off_frames:
            on, off = (round(x / frames_per_update) for x in (self.on_frames, self.off_frames))
            strength = jnp.where(updates % (on + off) < on, strength, 0.0)
        return strength


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    if chosen.on_frames or chosen.off_frames:
        for key in ("on_frames", "off_frames"):
            selection.period_updates(getattr(chosen, key), subject, chosen.module, key)
    paths = chosen.paths(subject, chosen.module)

    def loss(params, state, updates, context):
        del state, context
        leaves = layers.leaves_by_path(params)
        squares = sum((jnp.sum(jnp.square(leaves[path])) for path in paths), start=0.0)
        strength = chosen.at(updates, subject.frames_per_update)
        return strength * squares, {"strength": strength}

    return base.Intervention(regularizer=base.Regularizer(lambda params: (), loss))

"""Shrink and perturb: parameters move towards an initialization (Ash & Adams 2020).

fresh: every period, w <- share * w + (1 - share) * (a new initialization), as in SR-SPR and BBF
(share 0.8 of the encoder there). initial: the same towards the parameters that the run began with;
with a period of one update and a share of 1 - 1e-6 that is Plasticine's, in every update. The
moments stay. The form of Dohare et al. 2024 is optimizer.name = "adamw" with the noise of noise.py.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity import layers
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key(
        "shrink_and_perturb", checks.one_of("shrink_and_perturb"), "this intervention"
    )
    towards: Literal["fresh", "initial"] = settings.key(
        "fresh",
        checks.one_of("fresh", "initial"),
        "a new initialization each time, or the one that the run began with",
    )
    share: float = settings.key(0.8, checks.number(0, 1), "of the parameters that stays", "BBF")
    period_frames: int = selection.period_key(2_000_000)


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module)
    paths = {path for layer in found for path in layer.leaves.values()}
    period = selection.period_updates(chosen.period_frames, subject, chosen.module)

    def init(params):
        if chosen.towards == "fresh":
            return ()
        leaves = layers.leaves_by_path(params)
        return {path: jnp.copy(leaves[path]) for path in paths}

    def apply(state, initial, rng, transition):
        del transition
        is_due = state.updates % period == 0

        def move(params):
            goal = initial or layers.leaves_by_path(subject.init_params(rng))
            # Not share * w + ...: in float32 a share near 1 is rounded more than its distance to 1.
            blend = lambda path, w: w + (1 - chosen.share) * (goal[path] - w)  # noqa: E731
            return layers.map_leaves(blend, params, paths)

        params = jax.lax.cond(is_due, move, lambda params: params, state.params)
        return state._replace(params=params), initial, {}

    return base.Intervention(operation=base.Operation(init, apply))

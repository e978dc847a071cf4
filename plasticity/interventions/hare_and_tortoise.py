"""Hare and tortoise: fast weights return to their own slow average from time to time.

Source: Lee et al. 2024 (slow and steady wins the race). After every update the tortoise goes
towards the hare, the parameters: tortoise <- momentum tortoise + (1 - momentum) hare. Every period
the hare returns to the tortoise; the optimizer's moments are kept or begin anew. The paper acts and
bootstraps with the tortoise; here it does neither: acting and the target network know the
parameters alone, and the target network gets the tortoise by its next copy after a return.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity import layers, moments
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key(
        "hare_and_tortoise", checks.one_of("hare_and_tortoise"), "this intervention"
    )
    momentum: float = settings.key(
        0.999, checks.number(0, 1), "share of the tortoise that stays in each update", "ours"
    )
    return_period_frames: int = selection.period_key(160_000)
    moments: Literal["keep", "reset"] = settings.key(
        "keep", checks.one_of("keep", "reset"), "the optimizer's, when the hare returns", "ours"
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py. Its state is the tortoise."""
    found = chosen.select(subject, chosen.module)
    paths = {path for layer in found for path in layer.leaves.values()}
    period = selection.period_updates(
        chosen.return_period_frames, subject, chosen.module, "return_period_frames"
    )

    def init(params):
        leaves = layers.leaves_by_path(params)
        return {path: jnp.copy(leaves[path]) for path in paths}

    def come_back(state, tortoise):
        params = layers.map_leaves(lambda path, _: tortoise[path], state.params, paths)
        opt_state = state.opt_state
        if chosen.moments == "reset":
            opt_state = moments.reset(opt_state, dict.fromkeys(paths, True))
        return state._replace(params=params, opt_state=opt_state)

    def apply(state, tortoise, rng, transition):
        del rng, transition
        hare = layers.leaves_by_path(state.params)
        tortoise = {
            path: slow + (1 - chosen.momentum) * (hare[path] - slow)
            for path, slow in tortoise.items()
        }
        is_due = state.updates % period == 0
        state = jax.lax.cond(is_due, lambda s: come_back(s, tortoise), lambda s: s, state)
        return state, tortoise, {}

    return base.Intervention(operation=base.Operation(init, apply, chosen.moments == "reset"))

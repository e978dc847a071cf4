"""Periodic resets of whole layers, or of all (Nikishin et al. 2022, the primacy bias).

The layers begin anew, in the target network as well, and the optimizer's moments of their
parameters; the replay is kept. With optimizer.name = adam_ages the bias correction begins anew
too; with other optimizers its count goes on, and the first updates after a reset are too large.
"""

import dataclasses

import jax

from core import checks, settings
from plasticity import layers as layers_lib
from plasticity import moments
from plasticity.interventions import base, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("layer_reset", checks.one_of("layer_reset"), "this intervention")
    layers: str = settings.key(
        "(value|advantage|action)_(hidden|norm|output)",
        checks.pattern(),
        "regular expression, searched in the names of layers: which begin anew; '.*': all",
        "Nikishin et al. 2022: the last ones",
    )
    period_frames: int = selection.period_key(3_200_000)


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py."""
    found = chosen.select(subject, chosen.module)
    paths = {path for layer in found for path in layer.leaves.values()}
    period = selection.period_updates(chosen.period_frames, subject, chosen.module)

    def reset(state, rng):
        fresh = layers_lib.leaves_by_path(subject.init_params(rng))
        replace = lambda path, w: fresh[path]  # noqa: E731
        return state._replace(
            params=layers_lib.map_leaves(replace, state.params, paths),
            target_params=layers_lib.map_leaves(replace, state.target_params, paths),
            opt_state=moments.reset(state.opt_state, dict.fromkeys(paths, True)),
        )

    def apply(state, own, rng, transition):
        del transition
        is_due = state.updates % period == 0
        state = jax.lax.cond(is_due, lambda s: reset(s, rng), lambda s: s, state)
        return state, own, {}

    return base.Intervention(
        operation=base.Operation(lambda params: (), apply, resets_moments=True)
    )

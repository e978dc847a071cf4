"""ReDo: recycles dormant units (Sokar et al. 2023, arXiv 2302.12902).

Every period, hidden units whose mean |activation| on the batch is at most `threshold` times their
layer's mean begin anew: incoming weights as at the start of a run, biases 0, a norm's scale 1 and
offset 0, and outgoing weights 0, so that the layers that read them hear nothing at first. The
moments of all these begin at 0, and with optimizer.name = adam_ages so does their bias correction.
The target network is left to its next copy.
"""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity.interventions import base, hidden_units, selection
from plasticity.metrics import unit_metrics


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("redo", checks.one_of("redo"), "this intervention")
    threshold: float = settings.key(
        0.025, checks.number(0), "tau, of a unit's score", "Sokar et al. 2023; also 0.1"
    )
    period_frames: int = selection.period_key(16_000)


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py.

    Raises:
      ConfigError: if the network declares no hidden units with weights of their own.
    """
    period = selection.period_updates(chosen.period_frames, subject, chosen.module)
    hidden = hidden_units.find(chosen, subject, chosen.module)

    def recycle(state, rng, transition):
        rng_units, rng_fresh = jax.random.split(rng)
        seen = hidden.see(state.params, rng_units, transition.s_tm1)
        dormant = {name: is_dormant(units, chosen.threshold) for name, units in seen.items()}
        share = jnp.mean(jnp.concatenate(list(dormant.values())), dtype=jnp.float32)
        return hidden.begin_anew(state, rng_fresh, dormant), share

    def apply(state, own, rng, transition):
        state, share = jax.lax.cond(
            state.updates % period == 0,
            lambda s: recycle(s, rng, transition),
            lambda s: (s, jnp.zeros((), jnp.float32)),
            state,
        )
        return state, own, {"recycled": share}

    return base.Intervention(
        operation=base.Operation(lambda params: (), apply, resets_moments=True)
    )


def is_dormant(units: unit_metrics.Units, threshold: float) -> jax.Array:
    """Which units, bool [C], are dormant; of two features a unit, both must be."""
    scores = unit_metrics.scores(units.post)
    return jnp.all((scores <= threshold).reshape(-1, units.pre.shape[-1]), axis=0)

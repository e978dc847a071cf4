"""Self-normalized resets (SNR): a unit that is silent for unusually long, for itself, begins anew.

Source: Farias & Jozefiak 2024 (arXiv 2410.20098) and its code. A unit is silent in an update if it
is <= 0 on the whole batch, at every position. How long it was silent each time before it fired, or
began anew, is counted; from these counts, once in every period, comes its threshold: the
`percentile` of them if that is below the threshold so far, otherwise twice the threshold. A unit
that is silent for longer begins anew as in redo.py. Theirs counts samples, this one updates. A unit
that was never silent in a period keeps its threshold; theirs would get the smallest. Costs a
forward pass on the batch in every update.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity.interventions import base, hidden_units, selection
from plasticity.metrics import unit_metrics


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key(
        "self_normalized_resets", checks.one_of("self_normalized_resets"), "this intervention"
    )
    percentile: float = settings.key(
        0.9, checks.number(0, 1, open_low=True), "of a unit's silences", "its code"
    )
    growth: float = settings.key(
        2.0, checks.number(1), "of a threshold that is too low", "its code"
    )
    start_updates: int = settings.key(100, checks.integer(1), "every threshold at first", "ours")
    max_updates: int = settings.key(
        625, checks.integer(1), "the largest threshold", "20,000 samples in batches of 32"
    )
    period_frames: int = selection.period_key(160_000)


class Silences(NamedTuple):
    """Of the units of a layer.

    Attributes:
      ages: updates since each last fired or began, int32 [C].
      counts: how often it was silent for so long, int32 [C, max_updates + 2].
      thresholds: updates, int32 [C].
    """

    ages: jax.Array
    counts: jax.Array
    thresholds: jax.Array


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py.

    Raises:
      ConfigError: if the network declares no hidden units with weights of their own.
    """
    hidden = hidden_units.find(chosen, subject, chosen.module)
    period = selection.period_updates(chosen.period_frames, subject, chosen.module)

    def init(params):
        del params
        sizes = {name: units.pre.shape[-1] for name, units in hidden.shapes().items()}
        return {name: new_silences(size, chosen) for name, size in sizes.items()}

    def apply(state, own, rng, transition):
        rng_units, rng_fresh = jax.random.split(rng)
        seen = hidden.see(state.params, rng_units, transition.s_tm1)
        found = {name: advance(own[name], fires(units)) for name, units in seen.items()}
        units = {name: silent for name, (silent, _) in found.items()}
        number = sum((jnp.sum(x) for x in units.values()), start=jnp.zeros((), jnp.int32))
        state = jax.lax.cond(
            number > 0, lambda s: hidden.begin_anew(s, rng_fresh, units), lambda s: s, state
        )
        is_due = state.updates % period == 0
        own = {
            name: jax.lax.cond(is_due, lambda x: set_thresholds(x, chosen), lambda x: x, silences)
            for name, (_, silences) in found.items()
        }
        return state, own, {"reset": number}

    return base.Intervention(operation=base.Operation(init, apply, resets_moments=True))


def new_silences(size: int, chosen: Settings) -> Silences:
    """Of so many units that begin now."""
    start = min(chosen.start_updates, chosen.max_updates)
    return Silences(
        jnp.zeros(size, jnp.int32),
        jnp.zeros((size, chosen.max_updates + 2), jnp.int32),
        jnp.full(size, start, jnp.int32),
    )


def fires(units: unit_metrics.Units) -> jax.Array:
    """Which units, bool [C], are above 0 anywhere; of two features a unit, one of them."""
    above = jnp.any((units.post > 0).reshape(-1, units.post.shape[-1]), axis=0)
    return jnp.any(above.reshape(-1, units.pre.shape[-1]), axis=0)


def advance(silences: Silences, is_firing: jax.Array) -> tuple[jax.Array, Silences]:
    """The units that begin anew, bool [C], and the silences after one more update."""
    ages = jnp.where(is_firing, silences.ages, silences.ages + 1)
    is_late = ~is_firing & (ages > silences.thresholds)
    ends = (is_firing & (ages > 0)) | is_late
    counts = silences.counts.at[jnp.arange(ages.size), ages].add(ends.astype(jnp.int32))
    ages = jnp.where(is_firing | is_late, 0, ages)
    return is_late, silences._replace(ages=ages, counts=counts)


def set_thresholds(silences: Silences, chosen: Settings) -> Silences:
    """The silences with new thresholds, and counts that begin anew."""
    below = jnp.cumsum(silences.counts, axis=1)
    total = below[:, -1:]
    found = jnp.argmax(below >= chosen.percentile * total, axis=1)
    grown = (chosen.growth * silences.thresholds).astype(jnp.int32)
    thresholds = jnp.where(found < silences.thresholds, found, grown)
    thresholds = jnp.where(total[:, 0] > 0, thresholds, silences.thresholds)
    thresholds = jnp.clip(thresholds, 1, chosen.max_updates).astype(jnp.int32)
    return silences._replace(counts=jnp.zeros_like(silences.counts), thresholds=thresholds)

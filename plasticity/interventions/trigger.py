"""Does an operation not on a clock, but when a metric of the hidden units asks for it.

Every period the metric is measured on the batch of the update, and averaged over the measurements.
Of an injection's layers those count that learn. The operation is done once when the average crosses
the threshold; then nothing is measured for
`refractory_frames`, and average and peak begin anew.

dormant, dead: the share of such units is above `threshold` (unit_metrics; dormant with tau 0.025).
srank: the srank of features, a mean over the chosen layers that are no convolutions, is below its
peak by the share `threshold` of it (rank_metrics; it is at most the size of the batch).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from core import checks, plugins, settings
from plasticity import unit_masks
from plasticity.interventions import base, hidden_units, injection, selection
from plasticity.metrics import rank_metrics, unit_metrics

# Those that are done at once. Others watch every update.
_OPERATIONS = ("injection", "layer_reset", "redo", "shrink_and_perturb")
_DORMANT = 0.025


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("trigger", checks.one_of("trigger"), "this intervention")
    operation: Any = settings.plugin(base.PACKAGE, "redo")
    metric: Literal["srank", "dormant", "dead"] = settings.key(
        "srank", checks.one_of("srank", "dormant", "dead"), "what is measured"
    )
    threshold: float = settings.key(
        0.2, checks.number(0, 1), "srank: the fall from its peak; others: the share", "ours"
    )
    momentum: float = settings.key(
        0.9, checks.number(0, 1), "of the average, per measurement", "ours"
    )
    period_frames: int = selection.period_key(16_000)
    refractory_frames: int = settings.key(
        4_000_000, checks.integer(0), "after the operation, until it is measured again", "ours"
    )


class Watch(NamedTuple):
    """Of the metric: its average and that one's peak, float32 [], and when to go on, int32 [].

    Attributes:
      average: over the measurements since the operation was last done.
      peak: of the average.
      count: of these measurements.
      closed_until: the update before which nothing is measured.
    """

    average: jax.Array
    peak: jax.Array
    count: jax.Array
    closed_until: jax.Array


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py.

    Raises:
      ConfigError: if the operation can't be triggered, or the metric has no layer.
    """
    hidden = hidden_units.find(chosen, subject, chosen.module)
    _check_vectors(chosen, hidden)
    period = selection.period_updates(chosen.period_frames, subject, chosen.module)
    refractory = int(chosen.refractory_frames / subject.frames_per_update)
    triggered = _make_triggered(chosen, subject)
    operation = triggered.operation
    assert operation is not None

    def init(params):
        return {"watch": new_watch(), "operation": operation.init(params)}

    def look(state, watch, rng, transition):
        seen = hidden.see(state.params, rng, transition.s_tm1)
        learn = _learning(hidden, triggered, state.params)
        return judge(measure(seen, chosen.metric, learn), watch, state.updates, chosen, refractory)

    def apply(state, own, rng, transition):
        rng_units, rng_operation = jax.random.split(rng)

        def when_due(state, watch, inner):
            fires, watch = jax.lax.cond(
                state.updates >= watch.closed_until,
                lambda watch: look(state, watch, rng_units, transition),
                lambda watch: (jnp.zeros((), bool), watch),
                watch,
            )
            state, inner = jax.lax.cond(
                fires,
                lambda s, inner: operation.apply(s, inner, rng_operation, transition)[:2],
                lambda s, inner: (s, inner),
                *(state, inner),
            )
            return state, watch, inner, fires

        # Around what depends on the seed: mapped over seeds that is computed in both branches.
        state, watch, inner, fires = jax.lax.cond(
            state.updates % period == 0,
            when_due,
            lambda *same: (*same, jnp.zeros((), bool)),
            *(state, own["watch"], own["operation"]),
        )
        scalars = {"fired": fires.astype(jnp.int32), chosen.metric: watch.average}
        return state, {"watch": watch, "operation": inner}, scalars

    return base.Intervention(
        operation=base.Operation(init, apply, operation.resets_moments),
        trainable=triggered.trainable,
    )


def _check_vectors(chosen: Settings, hidden: hidden_units.HiddenUnits) -> None:
    if chosen.metric == "srank" and all(x.post.ndim > 2 for x in hidden.shapes().values()):
        raise checks.ConfigError(
            f"interventions: {chosen.module}.layers = {chosen.layers!r}: expected a layer that is "
            "no convolution with metric = 'srank'"
        )


def _make_triggered(chosen: Settings, subject: base.Subject) -> base.Intervention:
    name = chosen.operation.module
    if name not in _OPERATIONS:
        raise checks.ConfigError(
            f"interventions: {chosen.module}.operation.module = {name!r}: expected one of "
            f"{', '.join(_OPERATIONS)}"
        )
    if name == "injection":
        return injection.when_asked(chosen.operation, subject)
    # It decides by the number of updates: with a period of one it is always due.
    always = dataclasses.replace(chosen.operation, period_frames=1)
    module = plugins.find(base.PACKAGE, name, f"{chosen.module}.operation.module")
    return module.make(always, subject._replace(frames_per_update=1.0))


def new_watch() -> Watch:
    """Of nothing measured yet."""
    count = lambda: jnp.zeros((), jnp.int32)  # noqa: E731
    return Watch(jnp.zeros(()), jnp.zeros(()), count(), count())


def _learning(
    hidden: hidden_units.HiddenUnits, triggered: base.Intervention, params: Any
) -> dict[str, jax.Array]:
    """Which units learn now, bool [] by name: of an injection not what is frozen, or waits."""
    masks = triggered.trainable(params) if triggered.trainable else {}
    found = {}
    for name in hidden.names:
        paths = unit_masks.incoming(params, hidden.subject.declared, name)
        learn = [masks[path] for path in paths if path in masks]
        if learn:
            found[name] = jnp.all(jnp.stack(learn))
    return found


def measure(
    seen: Mapping[str, unit_metrics.Units],
    metric: str,
    learn: Mapping[str, jax.Array] | None = None,
) -> jax.Array:
    """The metric of the units of one network, float32 [].

    Args:
      seen: the units by name.
      metric: one of Settings.
      learn: by name, whether units count, bool []; those left out do.
    """
    posts = {name: units.post for name, units in seen.items()}
    if metric == "srank":
        posts = {name: h for name, h in posts.items() if h.ndim == 2}
        values = [rank_metrics.srank(rank_metrics.singular_values(h)) for h in posts.values()]
        weights = dict.fromkeys(posts, 1)
    else:
        threshold = _DORMANT if metric == "dormant" else 0.0
        fractions, of_all, _ = unit_metrics.dormant_fractions(posts, threshold)
        if not learn:
            return of_all
        values = [fractions[name] for name in posts]
        weights = {name: h.shape[-1] for name, h in posts.items()}
    if not learn:
        return jnp.mean(jnp.stack(values), dtype=jnp.float32)
    counted = jnp.stack([weights[name] * jnp.asarray(learn.get(name, True)) for name in posts])
    return jnp.sum(counted * jnp.stack(values)) / jnp.maximum(1, jnp.sum(counted))


def judge(
    value: jax.Array, watch: Watch, updates: jax.Array, chosen: Settings, refractory: int
) -> tuple[jax.Array, Watch]:
    """Whether to do the operation, bool [], and what is known after a measurement.

    Args:
      value: measured, a scalar.
      watch: what was known before.
      updates: done so far.
      chosen: the settings.
      refractory: updates without measurements after the operation.
    """
    is_first = watch.count == 0
    blended = chosen.momentum * watch.average + (1 - chosen.momentum) * value
    average = jnp.where(is_first, value, blended)
    peak = jnp.where(is_first, average, jnp.maximum(watch.peak, average))
    limit = (1 - chosen.threshold) * peak if chosen.metric == "srank" else chosen.threshold
    fires = average < limit if chosen.metric == "srank" else average > limit
    return fires, Watch(
        average,
        peak,
        jnp.where(fires, 0, watch.count + 1).astype(jnp.int32),
        jnp.where(fires, updates + refractory, watch.closed_until).astype(jnp.int32),
    )

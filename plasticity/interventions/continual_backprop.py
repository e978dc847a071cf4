"""Continual backpropagation: the least useful units begin anew, a few at a time.

Source: Dohare et al. 2024 (Nature 632) and its code. After every update each hidden unit's age and
utility advance; of the units older than `maturity_updates`, the share `rate` with the lowest
utility begins anew, fractions of a unit being saved up in each layer. A unit that begins anew is
not heard at first, as in redo.py, and what the layers that read it heard of it on average goes to
their biases (a layer without a bias, as before a norm, can't be given it; of a convolution with
padding it is exact away from the border). A unit's share in utility:

contribution: mean |h| * mean |outgoing w|, which they use in reinforcement learning.
adaptable_contribution: mean |h - average h| * mean |outgoing w| / mean |incoming w|.

Means are over the batch and positions. What lies between a unit and the layer that reads it is left
out: iqn multiplies its features with those of the shares of the return. Costs a forward pass on the
batch in every update.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity import layers, unit_masks
from plasticity.interventions import base, hidden_units, selection
from plasticity.metrics import unit_metrics

Utility = Literal["contribution", "adaptable_contribution"]


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key(
        "continual_backprop", checks.one_of("continual_backprop"), "this intervention"
    )
    rate: float = settings.key(
        1e-4, checks.number(0, 1), "share of the mature units per update", "Dohare et al. 2024"
    )
    maturity_updates: int = settings.key(
        10_000,
        checks.integer(0),
        "the age up to which a unit is left alone",
        "Dohare et al. 2024 in reinforcement learning; 100 in supervised learning",
    )
    utility: Utility = settings.key(
        "contribution",
        checks.one_of("contribution", "adaptable_contribution"),
        "what a unit is worth",
        "Dohare et al. 2024 in reinforcement learning",
    )
    decay: float = settings.key(
        0.99, checks.number(0, 0.999999), "of the averages, per update", "Dohare et al. 2024"
    )


class History(NamedTuple):
    """Of the units of a layer.

    Attributes:
      ages: updates since each began, int32 [C].
      utility: its average without bias correction, float32 [C].
      mean: the average of its activation, likewise [features * C].
      pending: units that are yet to begin anew, float32 [].
    """

    ages: jax.Array
    utility: jax.Array
    mean: jax.Array
    pending: jax.Array


class Strengths(NamedTuple):
    """Mean |w|: `outgoing` of each feature [features * C], `incoming` of each unit [C]."""

    outgoing: jax.Array
    incoming: jax.Array


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py.

    Raises:
      ConfigError: if the network declares no hidden units with weights of their own.
    """
    hidden = hidden_units.find(chosen, subject, chosen.module)

    def init(params):
        del params
        return {name: new_history(units) for name, units in hidden.shapes().items()}

    def replace(state, rng, chosen_units, means):
        params = give_to_biases(state.params, hidden, chosen_units, means)
        return hidden.begin_anew(state._replace(params=params), rng, chosen_units)

    def apply(state, own, rng, transition):
        rng_units, rng_fresh = jax.random.split(rng)
        seen = hidden.see(state.params, rng_units, transition.s_tm1)
        own = {
            name: advance(own[name], units, strengths(state.params, subject, name), chosen)
            for name, units in seen.items()
        }
        means = {name: corrected(x.mean, x.ages, chosen.decay) for name, x in own.items()}
        picked = {name: pick(history, chosen) for name, history in own.items()}
        units = {name: found for name, (found, _) in picked.items()}
        number = sum((jnp.sum(x) for x in units.values()), start=jnp.zeros((), jnp.int32))
        state = jax.lax.cond(
            number > 0, lambda s: replace(s, rng_fresh, units, means), lambda s: s, state
        )
        own = {name: begin_anew(history, found) for name, (found, history) in picked.items()}
        return state, own, {"replaced": number}

    return base.Intervention(operation=base.Operation(init, apply, resets_moments=True))


def new_history(units: unit_metrics.Units) -> History:
    """Of units of these shapes that begin now."""
    size, features = units.pre.shape[-1], units.post.shape[-1]
    return History(jnp.zeros(size, jnp.int32), jnp.zeros(size), jnp.zeros(features), jnp.zeros(()))


def strengths(params: Any, subject: base.Subject, name: str) -> Strengths:
    """Of the units of that name."""
    leaves = layers.leaves_by_path(params)
    of_units = [leaves[p] for p in unit_masks.incoming(params, subject.declared, name)]
    of_readers = [
        _by_feature(leaves[x.path], x.positions)
        for x in unit_masks.connections(params, subject.declared, name)
    ]
    return Strengths(_mean_magnitude(of_readers), _mean_magnitude(of_units))


def advance(history: History, units: unit_metrics.Units, w: Strengths, chosen: Settings) -> History:
    """The history after one more update, on whose batch the units were seen."""
    h = units.post.reshape(-1, units.post.shape[-1])
    ages = history.ages + 1
    average = lambda old, new: chosen.decay * old + (1 - chosen.decay) * new  # noqa: E731
    mean = average(history.mean, jnp.mean(h, axis=0))
    if chosen.utility == "adaptable_contribution":
        h = h - corrected(mean, ages, chosen.decay)[None]
    worth = jnp.mean((jnp.mean(jnp.abs(h), axis=0) * w.outgoing).reshape(-1, ages.size), axis=0)
    if chosen.utility == "adaptable_contribution":
        worth = worth / jnp.where(w.incoming > 0, w.incoming, 1)
    return history._replace(ages=ages, utility=average(history.utility, worth), mean=mean)


def corrected(value: jax.Array, ages: jax.Array, decay: float) -> jax.Array:
    """An average [features * C] that began at 0, as of units of these ages [C] >= 1."""
    return value / jnp.tile(1 - decay**ages, value.size // ages.size)


def pick(history: History, chosen: Settings) -> tuple[jax.Array, History]:
    """The units that begin anew, bool [C], and the history with what is left pending."""
    is_mature = history.ages > chosen.maturity_updates
    pending = history.pending + chosen.rate * jnp.sum(is_mature)
    number = jnp.minimum(jnp.floor(pending), jnp.sum(is_mature))
    utility = corrected(history.utility, history.ages, chosen.decay)
    places = jnp.argsort(jnp.argsort(jnp.where(is_mature, utility, jnp.inf)))
    return is_mature & (places < number), history._replace(pending=pending - number)


def begin_anew(history: History, units: jax.Array) -> History:
    """The history with age, utility and mean of some units, bool [C], at 0."""
    clear = lambda x: jnp.where(jnp.tile(units, x.size // units.size), 0, x)  # noqa: E731
    return history._replace(
        ages=clear(history.ages), utility=clear(history.utility), mean=clear(history.mean)
    )


def give_to_biases(
    params: Any,
    hidden: hidden_units.HiddenUnits,
    units: Mapping[str, jax.Array],
    means: Mapping[str, jax.Array],
) -> Any:
    """The parameters with the average contribution of some units in their readers' biases.

    Args:
      params: of the network.
      hidden: the units.
      units: which of them, bool [C] by name.
      means: their average activations [features * C] by name.
    """
    leaves = layers.leaves_by_path(params)
    gained: dict[str, jax.Array] = {}
    for name, mask in units.items():
        heard = jnp.where(jnp.tile(mask, means[name].size // mask.size), means[name], 0)
        for path, positions, bias in unit_masks.connections(params, hidden.subject.declared, name):
            if bias is not None:
                w = leaves[path].reshape(-1, positions, heard.size, leaves[path].shape[-1])
                gained[bias] = gained.get(bias, 0) + jnp.einsum("apfo,f->o", w, heard)
    return layers.map_leaves(lambda path, b: b + gained[path], params, gained)


def _by_feature(w: jax.Array, positions: int) -> jax.Array:
    """Weights [..., positions * features, outputs] with the features last."""
    w = w.reshape(-1, positions, w.shape[-2] // positions, w.shape[-1])
    return jnp.moveaxis(w, 2, -1)


def _mean_magnitude(weights: Sequence[jax.Array]) -> jax.Array:
    """Mean |w| [N] of several [..., N]."""
    flat = [jnp.abs(w).reshape(-1, w.shape[-1]) for w in weights]
    return jnp.mean(jnp.concatenate(flat), axis=0)

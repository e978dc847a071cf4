"""Silences hidden units, once, to see which networks bring them back.

The biases of a share of each layer's units, chosen at random, become so negative that ReLUs are off
for every input; of a layer without biases the offsets of its norm do. (Where a norm follows the
biases, its mean moves with them: of much more than half of the units some stay on.) No method
against the loss of plasticity but an experiment on it: without a norm such a unit has no gradient
and stays off; where a norm follows the biases, its mean and variance are in the other units'
gradients, and through them the unit may return (Lyle et al. 2024, arXiv 2407.01800).
"""

import dataclasses

import jax
import jax.numpy as jnp

from core import checks, settings
from plasticity import layers as layers_lib
from plasticity.interventions import base, hidden_units, selection


@dataclasses.dataclass(frozen=True)
class Settings(selection.LayerSettings):
    """An item of `interventions`."""

    module: str = settings.key("silence", checks.one_of("silence"), "this intervention")
    share: float = settings.key(0.5, checks.number(0, 1), "of each layer's units")
    bias: float = settings.key(-10.0, checks.number(-1e6, 0), "theirs from then on")
    at_frames: int = settings.key(
        1_000,
        checks.integer(1),
        "when, counted from the first update on; at least those of an update",
    )


def make(chosen: Settings, subject: base.Subject) -> base.Intervention:
    """Builds it; see plasticity/interventions/base.py.

    Raises:
      ConfigError: also if a chosen layer has neither.
    """
    hidden = hidden_units.find(chosen, subject, chosen.module)
    at = selection.period_updates(chosen.at_frames, subject, chosen.module, "at_frames")
    widths = {name: units.pre.shape[-1] for name, units in hidden.shapes().items()}
    everything = {name: jnp.ones(width, bool) for name, width in widths.items()}
    noise = selection.noise_paths(subject)

    def biases(params, drawn):
        found: dict[str, jax.Array] = {}
        for name, mask in drawn.items():
            masks = hidden.masks(params, {name: mask})
            found |= masks.biases or masks.offsets
        return {path: mask for path, mask in found.items() if path not in noise}

    if len(biases(subject.shapes, everything)) < len(widths):
        raise checks.ConfigError(
            "interventions: silence: expected layers that have biases, or a norm with an offset"
        )

    def silence(state, rng):
        masks = biases(state.params, _draw(rng, widths, chosen.share))
        to_bias = lambda path, b: jnp.where(masks[path], chosen.bias, b)  # noqa: E731
        return state._replace(params=layers_lib.map_leaves(to_bias, state.params, set(masks)))

    def apply(state, own, rng, transition):
        del transition
        is_due = state.updates == at
        return jax.lax.cond(is_due, lambda s: silence(s, rng), lambda s: s, state), own, {}

    return base.Intervention(operation=base.Operation(lambda params: (), apply))


def _draw(rng: jax.Array, widths: dict[str, int], share: float) -> dict[str, jax.Array]:
    """Which units, bool [C] by name: exactly that share of each layer."""
    keys = jax.random.split(rng, len(widths))
    return {
        name: jax.random.permutation(key, width) < round(share * width)
        for key, (name, width) in zip(keys, widths.items())
    }

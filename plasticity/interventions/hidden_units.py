"""The hidden units that an operation watches, and how some of them begin anew."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from core import checks, types
from plasticity import moments, unit_masks
from plasticity.interventions import base, selection
from plasticity.metrics import unit_metrics


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenUnits:
    """Units with weights of their own.

    Attributes:
      subject: has them.
      names: theirs, as the network declares them.
    """

    subject: base.Subject
    names: tuple[str, ...]

    def see(
        self, params: Any, rng: jax.Array, observations: jax.Array
    ) -> dict[str, unit_metrics.Units]:
        """The units on observations [B, ...], by name."""
        seen = self.subject.units(params, rng, observations)
        return {name: seen[name] for name in self.names}

    def shapes(self) -> dict[str, unit_metrics.Units]:
        """The same for one observation, shapes and types alone."""
        rng = jax.random.key(0)
        return jax.eval_shape(self.see, self.subject.shapes, rng, self.subject.observations)

    def masks(self, params: Any, chosen: Mapping[str, jax.Array]) -> unit_masks.UnitMasks:
        """The elements that lead into and out of the chosen units, bool [C] by name."""
        first = self.shapes()[self.names[0]]
        features = first.post.shape[-1] // first.pre.shape[-1]
        return unit_masks.of_units(params, self.subject.declared, chosen, features)

    def begin_anew(
        self, state: types.TrainState, rng: jax.Array, chosen: Mapping[str, jax.Array]
    ) -> types.TrainState:
        """The state with the chosen units, bool [C] by name, as at the start of a run.

        Their outgoing weights are 0, and the moments of all these are, with the ages of Adam with
        ages. The target network is left to its next copy.
        """
        masks = self.masks(state.params, chosen)
        params = unit_masks.begin_anew(state.params, self.subject.init_params(rng), masks)
        opt_state = moments.reset(state.opt_state, masks.touched())
        return state._replace(params=params, opt_state=opt_state)


def find(chosen: selection.LayerSettings, subject: base.Subject, module: str) -> HiddenUnits:
    """The units of the chosen layers.

    Raises:
      ConfigError: if the pattern fits no hidden layer, or the network declares no units of them.
    """
    layers = {layer.name for layer in chosen.select(subject, module, ("hidden",))}
    names = tuple(x.name for x in subject.declared.units if layers.intersection(x.incoming))
    if not names:
        raise checks.ConfigError(
            f"interventions: {module}: expected a network that declares its hidden units "
            "(networks/nonlinearity.py)"
        )
    return HiddenUnits(subject, names)

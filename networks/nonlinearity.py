"""What follows every hidden layer: a norm and a nonlinearity, in either order."""

import dataclasses

import haiku as hk
import jax

from core import checks, types
from networks import activations, declared, normalization


@dataclasses.dataclass(frozen=True)
class Nonlinearity:
    """Joins the sections `network.norm` and `network.activation`; passed to torsos and heads.

    Attributes:
      norm: of each hidden layer.
      activation: the same for all of them.
      samples: S, rows of a batch for each observation; where it is not 1, units are seen as
        [B, S, C].
    """

    norm: normalization.Normalization = normalization.Normalization()
    activation: activations.Settings = activations.Settings()
    samples: int = 1

    @property
    def layer_has_bias(self) -> bool:
        """Whether the linear or convolutional layer before it has biases."""
        return self.norm.layer_has_bias or self.norm.position == "post"

    def units(self, width: int) -> int:
        """The units of a layer that gives `width` features; see activations.Settings.units."""
        return self.activation.units(width)

    def width_for(self, features: int) -> int:
        """The units of a layer that gives exactly so many features, whatever `width` is set to."""
        return dataclasses.replace(self.activation, width="output").units(features)

    def __call__(
        self,
        x: jax.Array,
        name: str,
        norm_name: str,
        after: hk.Module | None = None,
        role: types.LayerKind = "norm",
    ) -> jax.Array:
        """Maps pre-activations [B, ..., C] to features [B, ..., C or 2C].

        Args:
          x: the pre-activations.
          name: of the units, unique in their module.
          norm_name: of the norm's Haiku module.
          after: the layer that x comes from; None where several add up to it.
          role: of the norm; see Normalization.
        """
        name = activations.qualified(name)
        if self.norm.position == "pre":
            x, norm = self.norm(x, norm_name, role)
            y = self._activate(x, name)
        else:
            y, norm = self.norm(self._activate(x, name), norm_name, role)
        declared.name_units(name, y, (after, norm))
        return y

    def _activate(self, x: jax.Array, name: str) -> jax.Array:
        if self.samples == 1:
            return activations.activate(x, name, self.activation)
        by_observation = x.reshape(-1, self.samples, x.shape[-1])
        y = activations.activate(by_observation, name, self.activation)
        return y.reshape(x.shape[0], -1)


def check_invariance(chosen: Nonlinearity, what: str) -> None:
    """Raises ConfigError if the network behind it is not invariant to its layers' scales."""
    if chosen.norm.position == "post" and not chosen.activation.is_homogeneous:
        raise checks.ConfigError(
            f"network.activation.kind = {chosen.activation.kind!r}: expected relu, leaky_relu or "
            f"crelu with network.norm.position = 'post' and {what}"
        )

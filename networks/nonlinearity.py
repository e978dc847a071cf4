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
    """

    norm: normalization.Normalization = normalization.Normalization()
    activation: activations.Settings = activations.Settings()

    @property
    def layer_has_bias(self) -> bool:
        """Whether the linear or convolutional layer before it has biases."""
        return self.norm.layer_has_bias or self.norm.position == "post"

    def units(self, width: int) -> int:
        """The units of a layer that gives `width` features; see activations.Settings.units."""
        return self.activation.units(width)

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
            y = activations.activate(x, name, self.activation)
        else:
            y, norm = self.norm(activations.activate(x, name, self.activation), norm_name, role)
        declared.name_units(name, y, (after, norm))
        return y


def check_invariance(chosen: Nonlinearity, what: str) -> None:
    """Raises ConfigError if the network behind it is not invariant to its layers' scales."""
    if chosen.norm.position == "post" and not chosen.activation.is_homogeneous:
        raise checks.ConfigError(
            f"network.activation.kind = {chosen.activation.kind!r}: expected relu, leaky_relu or "
            f"crelu with network.norm.position = 'post' and {what}"
        )

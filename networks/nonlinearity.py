"""What follows every hidden layer: a norm and a nonlinearity, in either order."""

import dataclasses
from collections.abc import Sequence

import haiku as hk
import jax

from core import types
from networks import activations, declared, normalization


@dataclasses.dataclass(frozen=True)
class Nonlinearity:
    """Joins the sections `network.norm` and `network.activation`; passed to torsos and heads.

    Attributes:
      norm: of each hidden layer.
      activation: the same for all of them.
      samples: S, rows of a batch for each observation; where it is not 1, units are seen as
        [B, S, C].
      few_kernels: whether norms are written for few kernels.
    """

    norm: normalization.Normalization = normalization.Normalization()
    activation: activations.Settings = activations.Settings()
    samples: int = 1
    few_kernels: bool = False

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
            x, norm = self.norm(x, norm_name, role, self.few_kernels)
            y = self._activate(x, name)
        else:
            y, norm = self.norm(self._activate(x, name), norm_name, role, self.few_kernels)
        declared.name_units(name, y, (after, norm))
        return y

    def side_by_side(
        self,
        x: jax.Array,
        names: Sequence[str],
        norm_names: Sequence[str],
        after: Sequence[hk.Module],
        readers: Sequence[hk.Module],
        role: types.LayerKind,
    ) -> jax.Array:
        """Maps pre-activations [B, S, C] of S layers to features [B, S, C or 2C] at once.

        The arguments are those of a call for each of the layers, and `readers`, the layers that
        read their features.
        """
        names = [activations.qualified(name) for name in names]
        if self.norm.position == "pre":
            pre, norms = self.norm.side_by_side(x, norm_names, role)
            y = post = self.activation(pre)
        else:
            pre, post = x, self.activation(x)
            y, norms = self.norm.side_by_side(post, norm_names, role)
        for i, (name, layer, norm, reader) in enumerate(zip(names, after, norms, readers)):
            activations.record(name, pre[:, i], post[:, i])
            features = y[:, i]
            declared.name_units(name, features, (layer, norm))
            declared.reads(reader, features)
        return y

    def _activate(self, x: jax.Array, name: str) -> jax.Array:
        if self.samples == 1:
            return activations.activate(x, name, self.activation)
        by_observation = x.reshape(-1, self.samples, x.shape[-1])
        y = activations.activate(by_observation, name, self.activation)
        return y.reshape(x.shape[0], -1)

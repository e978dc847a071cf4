"""Nonlinearities, and where the units before and after them can be seen."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Literal, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, settings

_RECORDERS = threading.local()

_KINDS = ("relu", "leaky_relu", "crelu", "fourier", "tanh", "gelu")
_TWO_PER_UNIT = ("crelu", "fourier")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The nonlinearity of all hidden layers: the section `network.activation`."""

    kind: Literal["relu", "leaky_relu", "crelu", "fourier", "tanh", "gelu"] = settings.key(
        "relu",
        checks.one_of(*_KINDS),
        "crelu: [ReLU(x), ReLU(-x)]; fourier: [sin x, cos x]; both make two features of a unit",
        "DQN Zoo",
    )
    slope: float = settings.key(
        0.01, checks.number(0, 1), "of leaky_relu for numbers below 0", "Haiku"
    )
    width: Literal["output", "input"] = settings.key(
        "output",
        checks.one_of("output", "input"),
        "of crelu and fourier. output: a layer has half as many units, so that it gives as many "
        "features as with ReLU; input: it has as many units, and gives twice as many features",
        "output: Deep Fourier features; both in Abbas et al. 2023",
    )

    @property
    def is_homogeneous(self) -> bool:
        """Whether f(c x) = c f(x) for c > 0, on which scale invariance behind it rests."""
        return self.kind in ("relu", "leaky_relu", "crelu")

    def derivative(self, x: jax.Array) -> jax.Array:
        """The slope at pre-activations of any shape.

        Of two features a unit it is the first one's for fourier; for crelu 1 or -1, the sign of the
        one that is on: the unit is linear where that does not change.
        """
        of_unit = lambda value: self(value[None])[0]  # noqa: E731
        if self.kind == "crelu":
            of_unit = lambda value: jnp.sum(self(value[None]))  # noqa: E731
        return jax.vmap(jax.grad(of_unit))(x.reshape(-1)).reshape(x.shape)

    def units(self, width: int) -> int:
        """The units of a layer that is to be `width` features wide.

        Raises:
          ConfigError: if that is no whole number.
        """
        if self.kind not in _TWO_PER_UNIT or self.width == "input":
            return width
        if width % 2:
            raise checks.ConfigError(
                f"network.activation.kind = {self.kind!r}: expected layers of an even width with "
                f"width = 'output', found {width}"
            )
        return width // 2

    def features(self, units: int) -> int:
        """The features that so many units give."""
        return 2 * units if self.kind in _TWO_PER_UNIT else units

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps pre-activations [B, ..., C] to [B, ..., C] or, of two features a unit, 2C."""
        match self.kind:
            case "leaky_relu":
                return jax.nn.leaky_relu(x, self.slope)
            case "crelu":
                return jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)], axis=-1)
            case "fourier":
                return jnp.concatenate([jnp.sin(x), jnp.cos(x)], axis=-1)
            case "tanh":
                return jnp.tanh(x)
            case "gelu":
                return jax.nn.gelu(x)
            case _:
                return jax.nn.relu(x)


class Units(NamedTuple):
    """The units of a layer before [B, ..., C] and after its nonlinearity [B, ..., C or 2C]."""

    pre: jax.Array
    post: jax.Array


@contextlib.contextmanager
def recording() -> Iterator[dict[str, Units]]:
    """Collects the units of a network that is applied meanwhile, by name.

    They are values of the trace that applies it: use or return them within that.
    """
    before = getattr(_RECORDERS, "found", None)
    _RECORDERS.found = found = {}
    try:
        yield found
    finally:
        _RECORDERS.found = before


def is_recording() -> bool:
    """Whether the network that is applied now is recorded."""
    return getattr(_RECORDERS, "found", None) is not None


def record(name: str, pre: jax.Array, post: jax.Array) -> None:
    """Shows the units `name` to whoever records the network that is applied now."""
    found = getattr(_RECORDERS, "found", None)
    if found is not None:
        found[name] = Units(pre, post)


def activate(x: jax.Array, name: str, chosen: Settings) -> jax.Array:
    """Applies the nonlinearity to pre-activations [B, ..., C] of the units `name`.

    Args:
      x: the pre-activations.
      name: of the units; see `qualified`.
      chosen: the nonlinearity.
    """
    post = chosen(x)
    record(name, x, post)
    return post


def qualified(name: str) -> str:
    """A name that is unique in its module, with the module in front."""
    scope = hk.experimental.current_name()
    return name if scope == "~" else f"{scope}/{name}"

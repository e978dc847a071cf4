"""The three networks of implicit Q-learning, and what is measured of them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from agents import base, measuring, value_based
from core import checks, settings, types
from networks import activations, value_network

NETWORKS = ("q", "value", "policy")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network`: one like any value-based agent's for each of the three."""

    q: value_network.Settings = settings.section(value_network.Settings, "network")
    value: value_network.Settings = settings.section(value_network.Settings, "network")
    policy: value_network.Settings = settings.section(value_network.Settings, "network")


class IqlOutput(NamedTuple):
    """Action values [B, A], the state's value [B, 1], and logits of actions [B, A]."""

    q_values: jax.Array
    value: jax.Array
    policy: jax.Array


@contextlib.contextmanager
def renamed(name: str) -> Iterator[None]:
    """Errors raised in here name the keys of one of the networks and of its optimizer."""
    with (
        checks.renamed("optimizer", f"optimizer.{name}"),
        checks.renamed("network", f"network.{name}"),
    ):
        yield


class Networks:
    """Q, V and the policy; a tree of parameters has each under its name."""

    def __init__(self, chosen: Settings, problem: base.Problem):
        """Builds them.

        Args:
          chosen: the section `network`.
          problem: what is to be learned.
        """
        self._settings = chosen
        sizes = {"q": problem.num_actions, "value": 1, "policy": problem.num_actions}
        self._networks, self._declared = {}, {}
        for name in NETWORKS:
            with renamed(name):
                self._networks[name] = value_network.make(getattr(chosen, name), sizes[name], 1)
                self._declared[name] = value_based.declared_network(self._init_of(name), problem)
        whole = [network.under(name) for name, network in self._declared.items()]
        self.declared = types.DeclaredNetwork(
            tuple(layer for network in whole for layer in network.layers),
            tuple(units for network in whole for units in network.units),
        )

    def _init_of(self, name: str) -> Callable[[jax.Array, jax.Array], Any]:
        return lambda rng, observations: self.init(name, rng, observations)

    def init(self, name: str, rng: jax.Array, observations: jax.Array) -> Any:
        """New parameters of one network."""
        return self._networks[name].init(rng, observations, False)

    def declared_of(self, name: str) -> types.DeclaredNetwork:
        """What one network declares."""
        return self._declared[name]

    def declare(self, name: str) -> Callable[[Any], tuple[types.DeclaredLayer, ...]]:
        """What one network's layers are, as plasticity.layers asks it."""
        return lambda params: self._declared[name].layers

    def values(
        self,
        name: str,
        params: Any,
        rng: jax.Array,
        observations: jax.Array,
        noise: str | None = None,
    ) -> jax.Array:
        """A network's output, [B, A]; [B, 1] for V; with its own kind of noise if none is given."""
        noise = noise or getattr(self._settings, name).head.noise
        return self._networks[name].apply(params, rng, observations, noise == "per_sample")[..., 0]

    def apply(self, params: base.Params, rng: jax.Array, observations: jax.Array) -> IqlOutput:
        """The outputs of the three networks."""
        rngs = zip(NETWORKS, jax.random.split(rng, len(NETWORKS)))
        return IqlOutput(*(self.values(name, params[name], r, observations) for name, r in rngs))

    def units(self, params, rng, observations) -> Mapping[str, activations.Units]:
        """{network/layer: Units(pre, post)} for observations [B, ...]; see base.Agent."""
        return {
            f"{name}/{layer}": units
            for name in NETWORKS
            for layer, units in self._units_of(name, params, rng, observations).items()
        }

    def _units_of(self, name: str, params, rng, observations) -> dict[str, activations.Units]:
        with activations.recording() as seen:
            self.values(name, params[name], rng, observations, "shared")
        return seen

    def measure_units(self, params, rng, observations) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        return joined(
            {
                name: measuring.measure_units(
                    self._units_of(name, params, rng, observations),
                    getattr(self._settings, name).activation,
                )
                for name in NETWORKS
            }
        )

    def measure_ranks(self, params, rng, observations) -> Mapping[str, base.Scalars]:
        """See base.Agent."""
        return joined(
            {
                name: measuring.measure_ranks(
                    params[name],
                    self._units_of(name, params, rng, observations),
                    self._declared[name],
                )
                for name in NETWORKS
            }
        )


def joined(measured: Mapping[str, Mapping[str, base.Scalars]]) -> dict[str, dict[str, jax.Array]]:
    """{quantity: {network/layer: scalar}} of what was measured of each network."""
    found: dict[str, dict[str, jax.Array]] = {}
    for name, quantities in measured.items():
        for quantity, by_layer in quantities.items():
            prefixed = {f"{name}/{layer}": value for layer, value in by_layer.items()}
            found.setdefault(quantity, {}).update(prefixed)
    return found

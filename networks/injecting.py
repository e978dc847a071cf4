"""Plasticity injection: new networks that start as the difference of two equal ones.

Q(x) = h(x) + sum over k of gate_k (new_k(x) - old_k(x)), where old_k is new_k's copy at birth
(Nikishin et al. 2023, arXiv 2305.15555). When gate_k opens nothing changes; from then on new_k
alone learns: plasticity/interventions/injection.py opens gates and says what learns. With
distributions the sum is of logits, so that the softmax after it keeps the output.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, injected, settings
from networks import activations


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.injection`."""

    times: int = settings.key(
        0, checks.integer(0), "how often plasticity can be injected; see docs/interventions.md"
    )
    scope: Literal["head", "network"] = settings.key(
        "head",
        checks.one_of("head", "network"),
        "what is added: heads on the torso's features, which go on learning; or whole networks",
        "Nikishin et al. 2023: head",
    )


def between(
    torso: Callable[[], jax.Array], head: Callable[[jax.Array], jax.Array], chosen: Settings
) -> jax.Array:
    """The output of a torso and a head with what is injected; inside a Haiku transform.

    Args:
      torso: makes its layers and gives the features.
      head: makes its layers and maps features to the output.
      chosen: the section.
    """
    if chosen.scope == "network":
        return _injected(lambda: head(torso()), chosen.times)
    features = torso()
    return _injected(lambda: head(features), chosen.times)


def _injected(call: Callable[[], jax.Array], times: int) -> jax.Array:
    """The output of `call`, which makes layers under the names of the module that calls it."""
    output = call()
    if not times:
        return output
    gates = _Gates(times, name=injected.MODULE)()
    for k in range(1, times + 1):
        rng = hk.next_rng_key()
        difference = functools.partial(_difference, k, call, rng)
        if hk.running_init() or activations.is_recording():
            output = output + gates[k - 1] * difference()
        else:
            zeros = lambda like=output: jnp.zeros_like(like)  # noqa: E731
            # Until the gate opens nothing more is computed than without it.
            output = output + hk.cond(gates[k - 1] > 0, difference, zeros)
    return output


class _Gates(hk.Module):
    """Which injections have been made: 0 or 1 each."""

    def __init__(self, times: int, name: str):
        super().__init__(name=name)
        self._times = times

    def __call__(self) -> list[jax.Array]:
        names = [injected.gate(k) for k in range(1, self._times + 1)]
        return [hk.get_parameter(name, (), init=jnp.zeros) for name in names]


class _Branch(hk.Module):
    """A scope of its own for layers."""

    def __call__(self, call: Callable[[], jax.Array]) -> jax.Array:
        return call()


def _difference(k: int, call: Callable[[], jax.Array], rng: jax.Array) -> jax.Array:
    """What the k-th injection adds: its new layers' output less its old ones'."""
    outputs = []
    for kind in ("new", "old"):
        # The same draws of noise; and of initial parameters, so that the difference is 0 at first.
        with hk.with_rng(rng):
            outputs.append(_Branch(name=injected.branch(k, kind))(call))
    return outputs[0] - outputs[1]

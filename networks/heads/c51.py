"""Categorical distributions of the return (C51, Bellemare et al. 2017)."""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from core import checks, settings


class C51Output(NamedTuple):
    """Logits [B, A, atoms] of the return's distribution, and their means, q-values [B, A]."""

    q_values: jax.Array
    q_logits: jax.Array


def distribution(logits: jax.Array, atoms: jax.Array) -> C51Output:
    """The distributions of logits [B, A, atoms] over the support `atoms` [atoms]."""
    chex.assert_rank([logits, atoms], [3, 1])
    # A sum, not a matrix product, which is less precise on some GPUs (config.precision).
    q_values = jnp.sum(jax.nn.softmax(logits) * atoms[None, None], axis=-1)
    return C51Output(q_values, logits)


def support(v_max: float, num_atoms: int) -> jax.Array:
    """The atoms float32 [num_atoms], evenly spaced from -v_max to v_max."""
    return jnp.linspace(-v_max, v_max, num_atoms, dtype=jnp.float32)


class FixedSupport(NamedTuple):
    """Atoms [num_atoms] that are no part of the computation."""

    atoms: jax.Array

    def distribution(self, logits: jax.Array) -> C51Output:
        """The distributions of logits [B, A, num_atoms]."""
        return distribution(logits, self.atoms)


@dataclasses.dataclass(frozen=True)
class SupportSettings:
    """The keys of agents whose network gives such distributions."""

    num_atoms: int = settings.key(
        51, checks.integer(2), "of the support of the return's distribution", "DQN Zoo"
    )
    v_max: float = settings.key(
        10.0, checks.number(0, open_low=True), "the support reaches from -v_max to it", "DQN Zoo"
    )

    @property
    def atoms(self) -> jax.Array:
        """The support [num_atoms]."""
        return support(self.v_max, self.num_atoms)

    def fixed(self) -> "FixedSupport":
        """The same support as numbers that are known before an update is compiled."""
        with jax.ensure_compile_time_eval():
            return FixedSupport(self.atoms)

    def distribution(self, logits: jax.Array) -> C51Output:
        """The distributions of logits [B, A, num_atoms]."""
        return distribution(logits, self.atoms)

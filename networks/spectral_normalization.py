"""Spectral normalization: layers compute with W / sigma_max(W) in place of W.

Source: Miyato et al. 2018; in deep RL Gogianu et al. 2021 (arXiv 2105.05246) on one hidden layer,
and Clark et al. 2024 (arXiv 2411.03820) on the convolutions of residual blocks. sigma_max comes
from the power method, from a fixed start in every pass, and is a few hundredths too small for large
random weights; the sources keep the vector between updates and do one iteration. The gradient
passes through sigma_max, not through the vector.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from core import checks, settings, singular_values

# Of linear, convolutional and noisy layers; a noisy layer's sigma is no map.
_WEIGHTS = ("w", "mu_w")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `network.spectral_norm`."""

    layers: str = settings.key(
        "",
        checks.pattern(),
        "regular expression, searched in the names of layers: which are normalized; '': none",
    )
    limit: float = settings.key(
        1.0, checks.number(0, open_low=True), "sigma_max of the normalized weights", "Gogianu 2021"
    )
    always: bool = settings.key(
        True,
        checks.boolean(),
        "whether weights with a sigma_max below `limit` are normalized as well",
    )
    iterations: int = settings.key(
        8, checks.integer(1), "of the power method in each pass, from a fixed start", "ours"
    )

    def normalize(self, w: jax.Array) -> jax.Array:
        """Weights [..., units] with the largest singular value `limit`."""
        sigma = singular_values.largest(w, self.iterations) / self.limit
        # Weights of 0 stay what they are.
        return w / jnp.maximum(sigma, 1e-12 if self.always else 1.0)


def apply(chosen: Settings, forward: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The same network, whose chosen layers are normalized.

    Args:
      chosen: the section.
      forward: makes its layers and gives its output; inside a Haiku transform.

    Returns:
      A function like `forward`. It raises ConfigError if the pattern fits no layer.
    """
    if not chosen.layers:
        return forward

    def normalized(*inputs: Any) -> jax.Array:
        known: dict[str, bool] = {}

        def get(next_getter, value, context) -> jax.Array:
            if context.name in _WEIGHTS:
                known[context.module_name] = is_chosen = (
                    re.search(chosen.layers, context.module_name) is not None
                )
                value = chosen.normalize(value) if is_chosen else value
            return next_getter(value)

        with hk.custom_getter(get):
            output = forward(*inputs)
        if not any(known.values()):
            raise checks.ConfigError(
                f"network.spectral_norm.layers = {chosen.layers!r}: expected a pattern that is "
                f"found in one of {', '.join(known)}"
            )
        return output

    return normalized

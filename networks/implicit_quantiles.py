"""The network of implicit quantiles (Dabney et al. 2018, arXiv 1806.06923), as in DQN Zoo.

A share tau becomes cos(pi i tau) for i = 1 ... n, a layer makes of these as many features as the
torso gives, and the head reads the products of both. The torso sees an observation once.
"""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp

from networks import (
    declared,
    injecting,
    linear,
    nonlinearity,
    spectral_normalization,
    value_network,
)
from networks.heads import action_values


def make(network: value_network.Settings, num_actions: int, latent_size: int) -> hk.Transformed:
    """Builds the network: (observations [B, ...], taus [B, N], noise per row) -> [B, N, A].

    With noise per row, each share of an observation has a draw of its own.

    Args:
      network: the section; the head gives one number for each action.
      num_actions: A.
      latent_size: n, the cosines.
    """

    def forward(observations: jax.Array, taus: jax.Array, per_row_noise: bool) -> jax.Array:
        once = nonlinearity.Nonlinearity(network.norm, network.activation)
        each = dataclasses.replace(once, samples=taus.shape[1])
        head = action_values.ActionValueHead(network.head, num_actions, 1, each)

        def torso() -> jax.Array:
            features = value_network.make_torso(network.torso, once)(observations)
            return _multiply(features, _embed(taus, features.shape[-1], latent_size, each))

        outputs = injecting.between(torso, lambda x: head(x, per_row_noise), network.injection)
        return outputs.reshape(*taus.shape, num_actions)

    return hk.transform(spectral_normalization.apply(network.spectral_norm, forward))


def cosines(taus: jax.Array, number: int) -> jax.Array:
    """cos(pi i tau) for i = 1 ... number, [R, number], of shares [R]."""
    return jnp.cos(jnp.outer(taus, jnp.pi * jnp.arange(1, number + 1, dtype=jnp.float32)))


def _embed(
    taus: jax.Array, size: int, latent_size: int, nonlinear: nonlinearity.Nonlinearity
) -> jax.Array:
    """Features [B N, size] of shares [B, N]."""
    x = cosines(taus.reshape(-1), latent_size)
    width = nonlinear.width_for(size)
    layer = linear.linear(width, latent_size, nonlinear.layer_has_bias, "tau_embedding")
    return nonlinear(layer(x), "tau_embedding", "tau_norm", layer)


def _multiply(features: jax.Array, embedded: jax.Array) -> jax.Array:
    """Products [B N, F] of features [B, F] and embedded shares [B N, F].

    What reads them reads the units of both: it hears nothing of a unit whose rows are 0.
    """
    each = embedded.reshape(features.shape[0], -1, features.shape[-1])
    products = (features[:, None] * each).reshape(embedded.shape)
    return declared.carry(embedded, declared.carry(features, products))

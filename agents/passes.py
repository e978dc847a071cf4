"""The passes of an update through a network: one by one, or for few kernels all of them as one."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import base, intervening
from networks import linear, noise


class Pass(NamedTuple):
    """One pass: parameters, rng, and observations [B, ...]."""

    params: Any
    rng: jax.Array
    observations: Any


Passes = Callable[[Sequence[Pass]], list[Any]]
"""Passes -> the network's output for each; the gradient is that of the first."""


def make(
    init: Callable[[jax.Array, jax.Array], Any],
    apply: intervening.Apply,
    sections: base.Sections,
    problem: base.Problem,
) -> Passes:
    """The passes of a network.

    Args:
      init: (rng, observations [B, ...]) -> parameters.
      apply: (params, rng, observations) -> the network's output.
      sections: the agent's parts of the configuration.
      problem: what it learns.
    """
    head = sections.network.head
    sizes: list[noise.Sizes] = []
    # Both parts of an injection's difference have the noise of one key, which makes it 0 at first.
    has_own = sections.network.injection.times == 0
    if sections.draws_ahead and head.noisy and head.noise == "shared" and has_own:
        with noise.recording() as sizes:
            jax.eval_shape(lambda *x: init(*x), jax.random.key(0), problem.observations)
    run = as_one if sections.has_few_kernels else _one_by_one
    return lambda passes: run(apply, passes, sizes)


def _one_by_one(
    apply: intervening.Apply, passes: Sequence[Pass], sizes: Sequence[noise.Sizes]
) -> list[Any]:
    """Each pass with noise of its own; of the layers of these sizes it is drawn ahead."""
    first, *others = passes
    constant = [
        # Other parameters are no part of what is differentiated.
        each._replace(params=jax.lax.stop_gradient(each.params))
        if each.params is first.params
        else each
        for each in others
    ]
    passes = (first, *constant)
    if not sizes:
        return [apply(*each) for each in passes]
    rngs = jnp.stack([each.rng for each in passes])
    outputs = []
    for each, drawn in zip(passes, noise.draw_in_turn(rngs, sizes, linear.factorised_noise)):
        with noise.supplied(drawn):
            outputs.append(apply(*each))
    return outputs


def as_one(
    apply: intervening.Apply, passes: Sequence[Pass], sizes: Sequence[noise.Sizes]
) -> list[Any]:
    """All passes as a batch of passes, with batched products instead of a product for each.

    Args:
      apply: (params, rng, observations) -> the network's output.
      passes: with observations of one shape.
      sizes: of the layers whose noise is drawn ahead.
    """
    first, *others = params = [each.params for each in passes]
    groups = [len(list(same)) for _, same in itertools.groupby(params, id)]
    rngs = jnp.stack([each.rng for each in passes])
    drawn = noise.draw_ahead(rngs, sizes, linear.factorised_noise) if sizes else []
    observations = jax.tree.map(lambda *x: jnp.stack(x), *(each.observations for each in passes))

    def apply_one(params: Any, inputs: Any) -> Any:
        rng, drawn, observations = inputs
        with noise.supplied(drawn, groups) if sizes else contextlib.nullcontext():
            return apply(params, rng, observations)

    outputs = _first_learns(apply_one)(first, others, (rngs, drawn, observations))
    return [jax.tree.map(lambda x, i=i: x[i], outputs) for i in range(len(passes))]


def _first_learns(apply: Callable[[Any, Any], Any]) -> Callable[[Any, Sequence[Any], Any], Any]:
    """(params, params of the other passes, inputs [P, ...]) -> outputs [P, ...].

    What the first pass needs for its gradient is taken out of the batch, so that the way back is
    no longer than that of one pass.
    """

    def stack(params: Any, others: Sequence[Any]) -> Any:
        return jax.tree.map(lambda *x: jnp.stack(x), params, *others)

    @jax.custom_vjp
    def all_of(params: Any, others: Sequence[Any], inputs: Any) -> Any:
        return jax.vmap(apply)(stack(params, others), inputs)

    def forward(params: Any, others: Sequence[Any], inputs: Any) -> Any:
        def one(params: Any, inputs: Any) -> Any:
            return jax.vjp(lambda p: apply(p, inputs), params)

        outputs, pull_back = jax.vmap(one)(stack(params, others), inputs)
        return outputs, jax.tree.map(lambda x: x[0], pull_back)

    def backward(pull_back: Any, d_outputs: Any) -> Any:
        return *pull_back(jax.tree.map(lambda x: x[0], d_outputs)), None, None

    all_of.defvjp(forward, backward)
    return all_of

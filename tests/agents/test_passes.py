"""Passes with noise drawn ahead, and as a batch of passes, do what they do one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import passes
from networks import value_network
from tests.agents import small_agents

_SECTIONS = small_agents.sections("rainbow", norm="layer")


def _network():
    made = value_network.make(_SECTIONS.network, small_agents.NUM_ACTIONS, 5)
    init = lambda rng, x: made.init(rng, x, False)  # noqa: E731
    return init, lambda params, rng, x: made.apply(params, rng, x, False)


def _loss_and_outputs(formulation, params, target):
    """With a loss of all outputs, so that a gradient through any pass would show."""
    sections = _SECTIONS._replace(formulation=formulation)
    network = _network()
    run = passes.make(*network, sections, small_agents.PROBLEM)
    rngs = jax.random.split(jax.random.key(2), 3)
    x = [small_agents.observations(4, seed) for seed in range(3)]

    def loss(params):
        used = [passes.Pass(p, *each) for p, *each in zip([params, params, target], rngs, x)]
        outputs = run(used)
        return sum(jnp.sum(jnp.sin(y)) for y in outputs), outputs

    return jax.value_and_grad(loss, has_aux=True)(params)


@pytest.mark.parametrize("formulation", ["few_kernels", "compute_once"])
def test_outputs_and_the_gradient_of_the_first_pass_are_the_same(formulation):
    init, _ = _network()
    params, target = (init(jax.random.key(i), small_agents.observations(1)) for i in range(2))
    found, expected = (
        _loss_and_outputs(name, params, target) for name in (formulation, "reference")
    )
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, found, expected)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(found[1]))

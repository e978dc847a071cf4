"""Updates of agents for few kernels, or computed once, beside the plain ones, on small networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base
from core import formulations
from plasticity import projection
from tests.agents import small_agents
from tests.agents.small_agents import observations, transitions

# Gradients are clipped, and after two updates the target network is copied.
_OPTIMIZER = {"learning_rate": 1e-2, "max_gradient_norm": 0.05}
_OTHER_PROJECTION = projection.ProjectionSettings(
    enabled=True, noisy="separate", period_updates=2, project_output=True, scale_offset="free"
)
_CASES = {
    "rainbow": ("rainbow", {"optimizer": _OPTIMIZER}),
    "separate spheres, at times, outputs too": (
        "c51",
        {"norm": "rms", "optimizer": {**_OPTIMIZER, "projection": _OTHER_PROJECTION}},
    ),
    "the target network chooses": ("rainbow", {"double": False}),
}
_FORMULATIONS = ["compute_once", "few_kernels"] + ["pallas"] * formulations.has_pallas()


def _train(name, changes, formulation):
    """The plain state, priorities and metrics after three updates."""
    sections = small_agents.sections(name, **changes)._replace(formulation=formulation)
    agent = base.make(sections, small_agents.PROBLEM)
    state = agent.init(jax.random.key(0), observations(4))
    packed = agent.packed
    assert (packed is None) == (formulation in ("reference", "compute_once"))
    state = packed.pack(state) if packed else state
    update = jax.jit(packed.update if packed else agent.update)
    copy_target = packed.copy_target if packed else lambda state: state
    for i in range(3):
        weights = jnp.linspace(0.5, 1.0, 4)
        updated = update(state, jax.random.key(i), transitions(seed=i), weights)
        state = copy_target(updated.state)
    return packed.unpack(state) if packed else state, updated.priorities, updated.metrics


@pytest.mark.parametrize("kwargs", [{"eps": 0.0}, {"mu_dtype": "bfloat16"}])
def test_moments_that_do_not_fit_the_arrays_stay_a_tree(kwargs):
    for given, is_packed in (({}, True), (kwargs, False)):
        sections = small_agents.sections("dqn", optimizer={**_OPTIMIZER, "kwargs": given})
        sections = sections._replace(formulation="few_kernels")
        made = base.make(sections, small_agents.PROBLEM)
        assert (made.packed is not None) == is_packed


@pytest.mark.parametrize("formulation", _FORMULATIONS)
@pytest.mark.parametrize("case", _CASES)
def test_losses_gradients_and_parameters_are_the_same(case, formulation):
    """Up to rounding; Adam's moments are the gradients."""
    expected = _train(*_CASES[case], "reference")
    found = _train(*_CASES[case], formulation)

    def close(x, y):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-5 * max(1e-6, np.abs(y).max()))

    jax.tree.map(close, found, expected)
    assert int(found[0].updates) == 3


@pytest.mark.parametrize("name", ["dqn", "qrdqn"])
def test_the_sharpness_of_a_network_can_be_measured(name):
    """It takes a second derivative, of noisy streams as well."""
    measured = []
    for formulation in ("reference", "few_kernels"):
        sections = small_agents.sections(name, head={"noisy": True, "dueling": True})
        agent = base.make(sections._replace(formulation=formulation), small_agents.PROBLEM)
        state = agent.init(jax.random.key(0), observations(4))
        batch, weights = transitions(), jnp.ones(4)
        measured.append(agent.measure_network(state, jax.random.key(1), batch, weights, batch))
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-2, atol=1e-5)  # noqa: E731
    jax.tree.map(close, *measured)

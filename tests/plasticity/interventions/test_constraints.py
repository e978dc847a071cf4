"""Constraints by hand: where parameters land, and which constraints can't go together."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import base as agents_base
from core import checks, singular_values, types
from networks import activations
from plasticity import layers
from plasticity.interventions import (
    base,
    row_projection,
    spectral_ball,
    trac,
    weight_clipping,
)
from tests.agents import small_agents

PARAMS = {
    "hidden": {"w": jnp.array([[3.0, 0.0], [0.0, 1.0]]), "b": jnp.array([4.0, 0.0])},
    "output": {"w": jnp.array([[1.0], [2.0]])},
}


def _subject(params):
    declared = types.DeclaredNetwork(tuple(layers.by_name(params)))
    shapes = jax.eval_shape(lambda: params)
    seen = small_agents.PROBLEM.observations
    return base.Subject(declared, shapes, lambda rng: params, 4.0, lambda *_: {}, seen)


def _after(module, chosen, gradient, params=None):
    """The parameters after a step of gradient descent of rate 1."""
    params = PARAMS if params is None else params
    optimizer = module.make(chosen, _subject(params)).constraint(optax.sgd(1.0))
    grads = jax.tree.map(jnp.zeros_like, params)
    grads["hidden"]["w"] = gradient
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return optax.apply_updates(params, updates)


def test_each_units_vector_returns_to_its_initial_norm():
    """Of w and b together: 5 and 1 at first; they land as 10 and 2 in the same directions."""
    gradient = jnp.array([[-3.0, 0.0], [0.0, -1.0]])
    after = _after(row_projection, row_projection.Settings(), gradient)
    norm = (6**2 + 4**2) ** 0.5
    np.testing.assert_allclose(
        after["hidden"]["w"], [[6 * 5 / norm, 0], [0, 1]], rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(after["hidden"]["b"], [4 * 5 / norm, 0], rtol=1e-6)
    np.testing.assert_array_equal(after["output"]["w"], PARAMS["output"]["w"])


def test_rows_of_a_norm_of_0_are_left_alone():
    params = {**PARAMS, "hidden": {"w": jnp.array([[0.0, 1], [0, 0]]), "b": jnp.zeros(2)}}
    gradient = jnp.array([[-1.0, -1.0], [0.0, 0.0]])
    after = _after(row_projection, row_projection.Settings(), gradient, params)
    np.testing.assert_allclose(after["hidden"]["w"], [[1, 1], [0, 0]])


@pytest.mark.parametrize("others", [(), (trac.Settings(start_scale=0.5),)])
def test_every_units_norm_stays_in_an_agent_of_noisy_layers(others):
    """Whatever else moves the parameters, in whichever order they are listed."""
    agent = small_agents.make(
        "rainbow",
        interventions=(row_projection.Settings(), *others),
        optimizer={"learning_rate": 1e-2},
    )
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    declare = lambda _: agent.declared.layers  # noqa: E731
    hidden = [x for x in layers.find_layers(state.params, declare) if x.kind == "hidden"]
    norms = lambda s: [row_projection.row_norms(layers.leaves_by_path(s.params), x) for x in hidden]  # noqa: E731
    before = norms(state)
    for k in range(3):
        batch = small_agents.transitions(8, seed=k)
        state = agent.update(state, jax.random.key(k), batch, jnp.ones(8)).state
    assert len(hidden) == 3
    for x, y in zip(before, norms(state)):
        np.testing.assert_allclose(x, y, rtol=1e-5)


def test_outside_of_the_ball_a_matrix_is_scaled_and_inside_it_is_not():
    chosen = spectral_ball.Settings(limit=2.0)
    zero = jnp.zeros((2, 2))
    after = _after(spectral_ball, chosen, zero)
    np.testing.assert_allclose(after["hidden"]["w"], [[2, 0], [0, 2 / 3]], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after["hidden"]["b"], PARAMS["hidden"]["b"])
    inside = _after(spectral_ball, spectral_ball.Settings(limit=3.5), zero)
    np.testing.assert_array_equal(inside["hidden"]["w"], PARAMS["hidden"]["w"])


def test_the_power_iteration_goes_on_from_update_to_update():
    """A single step each, after thirty at the start: a moving matrix stays within 1 % of it."""
    random = np.random.RandomState(0)
    params = {"hidden": {"w": jnp.asarray(random.normal(size=(20, 10)), jnp.float32)}}
    chosen = spectral_ball.Settings(limit=1.0)
    optimizer = spectral_ball.make(chosen, _subject(params)).constraint(optax.sgd(1e-2))
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for _ in range(50):
        grads = {"hidden": {"w": jnp.asarray(random.normal(size=(20, 10)), jnp.float32)}}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    assert np.linalg.norm(params["hidden"]["w"], 2) < 1.01


def test_the_power_iteration_of_diag_3_1():
    v = singular_values.right_vector(jnp.diag(jnp.array([3.0, 1.0])), 30)
    np.testing.assert_allclose(v, [1, 0], atol=1e-6)
    again = singular_values.right_vector(jnp.zeros((2, 2)), 3, v)
    np.testing.assert_array_equal(again, v)


NAP = {"projection": small_agents.PROJECTED}


def _refusal(**changes):
    with pytest.raises(checks.ConfigError) as error:
        small_agents.make("dqn", **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_two_constraints_on_one_layer_are_refused():
    listed = (spectral_ball.Settings(layers="torso"), weight_clipping.Settings())
    found = _refusal(interventions=listed)
    assert "spectral_ball and weight_clipping both hold ['torso/linear_0']['w']" in found
    apart = (spectral_ball.Settings(layers="torso"), weight_clipping.Settings(layers="output"))
    small_agents.make("dqn", interventions=apart)


@pytest.mark.parametrize(
    "chosen", [row_projection.Settings(), weight_clipping.Settings(), spectral_ball.Settings()]
)
def test_nap_with_a_constraint_on_its_layers_is_refused(chosen):
    found = _refusal(interventions=(chosen,), norm="layer", optimizer=NAP)
    assert f"{chosen.module} and optimizer.projection both hold" in found


def test_nap_with_a_constraint_on_the_output_alone_is_not():
    clipped = weight_clipping.Settings(layers="output")
    small_agents.make("dqn", interventions=(clipped,), norm="layer", optimizer=NAP)


@pytest.mark.parametrize("kind", ["tanh", "gelu", "fourier"])
def test_scales_and_offsets_on_a_sphere_before_such_a_nonlinearity_are_refused(kind):
    sections = small_agents.sections("dqn", norm="layer", optimizer=NAP)
    network = dataclasses.replace(sections.network, activation=activations.Settings(kind))
    with pytest.raises(checks.ConfigError) as error:
        agents_base.make(sections._replace(network=network), small_agents.PROBLEM)
    expected = "optimizer.projection.scale_offset = 'joint_sqrt_d': expected 'free' or"
    assert str(error.value).startswith(expected)
    assert f"network.activation.kind = '{kind}'" in str(error.value)
    free = dataclasses.replace(small_agents.PROJECTED, scale_offset="free")
    optimizer = dataclasses.replace(sections.optimizer, projection=free)
    sections = sections._replace(network=network, optimizer=optimizer)
    agents_base.make(sections, small_agents.PROBLEM)


@pytest.mark.parametrize("change", [{"keep_bias": True}, {"position": "post"}])
def test_scales_and_offsets_on_a_sphere_before_layers_with_biases_are_refused(change):
    sections = small_agents.sections("dqn", norm="layer", optimizer=NAP)
    norm = dataclasses.replace(sections.network.norm, **change)
    sections = sections._replace(network=dataclasses.replace(sections.network, norm=norm))
    ((key, value),) = change.items()
    expected = rf"joint_sqrt_d': .* network\.norm\.{key} = {value!r}"
    with pytest.raises(checks.ConfigError, match=expected):
        agents_base.make(sections, small_agents.PROBLEM)
    free = dataclasses.replace(small_agents.PROJECTED, scale_offset="free")
    optimizer = dataclasses.replace(sections.optimizer, projection=free)
    agents_base.make(sections._replace(optimizer=optimizer), small_agents.PROBLEM)
    network = dataclasses.replace(sections.network, activation=activations.Settings("tanh"))
    sections = sections._replace(network=network, optimizer=optimizer)
    if key == "keep_bias":
        agents_base.make(sections, small_agents.PROBLEM)
        return
    with pytest.raises(checks.ConfigError, match=r"kind = 'tanh': expected one to which"):
        agents_base.make(sections, small_agents.PROBLEM)


@pytest.mark.parametrize(
    ("name", "kwargs"), [("adamax", {}), ("adamaxw", {}), ("rmsprop", {"momentum": 0.9})]
)
def test_moments_that_do_not_scale_as_gradients_are_not_rescaled(name, kwargs):
    projected = dataclasses.replace(small_agents.PROJECTED, moments="rescale")
    optimizer = {"name": name, "kwargs": kwargs, "projection": projected}
    assert f"expected 'keep' with optimizer.name = '{name}'" in _refusal(
        norm="layer", optimizer=optimizer
    )


def test_nap_with_norms_of_constant_statistics_is_refused():
    sections = small_agents.sections("dqn", norm="layer", optimizer=NAP)
    norm = dataclasses.replace(sections.network.norm, statistics="constant")
    network = dataclasses.replace(sections.network, norm=norm)
    with pytest.raises(checks.ConfigError, match="statistics = 'constant': expected 'learned' wi"):
        agents_base.make(sections._replace(network=network), small_agents.PROBLEM)


def test_a_constraints_own_state_begins_anew_with_the_parameters():
    """Radii belong to the parameters; the optimizer's moments inside stay."""
    agent = small_agents.make("dqn", interventions=(row_projection.Settings(),))
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    batch = small_agents.transitions(8)
    state = agent.update(state, jax.random.key(0), batch, jnp.ones(8)).state
    fresh = agent.init(jax.random.key(1), small_agents.observations(1))
    after = agent.forget(state, fresh, agents_base.Forget(params=True)).opt_state
    assert after.own.keys() == fresh.opt_state.own.keys()
    for name, radii in fresh.opt_state.own.items():
        np.testing.assert_array_equal(after.own[name], radii)
    pairs = (jax.tree.leaves(x.inner.moments) for x in (after, state.opt_state))
    assert all(np.array_equal(x, y) for x, y in zip(*pairs))

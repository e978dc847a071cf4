"""Recycled units: what changes, what does not, and that they learn again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base as agents_base
from agents import value_based
from core import checks, types
from networks import activations, normalization, value_network
from networks.heads import action_values
from networks.torsos import nature
from plasticity import unit_masks
from plasticity.interventions import base, redo
from tests.agents import small_agents

DUE = redo.Settings(threshold=0.0, period_frames=4)
DEAD = 3  # in the torso's layer of small_agents


def _agent(**changes):
    return small_agents.make(
        "dqn", head={"dueling": False, "noisy": False}, **{"interventions": (DUE,), **changes}
    )


def _with_a_dead_unit(state, module="torso/linear_0", unit=DEAD):
    """The state with a unit whose bias keeps it off, in both networks."""

    def kill(params):
        params = {name: dict(leaves) for name, leaves in params.items()}
        params[module]["b"] = params[module]["b"].at[unit].set(-100.0)
        return params

    return state._replace(params=kill(state.params), target_params=kill(state.target_params))


def _start(agent):
    return agent.init(jax.random.key(0), small_agents.observations(1))


def _dead(agent, params, batch):
    units = agent.units(params, jax.random.key(0), batch.s_tm1)["torso/linear_0"]
    return np.asarray((units.post == 0).all(0))


def test_only_dormant_units_change_and_nobody_hears_them():
    """With a learning rate of 0: the output is what it was, on every observation."""
    agent = _agent(optimizer={"learning_rate": 1e-30, "kwargs": {}})
    state, batch = _with_a_dead_unit(_start(agent)), small_agents.transitions(16)
    dead = _dead(agent, state.params, batch)
    assert dead[DEAD]
    updated = agent.update(state, jax.random.key(1), batch, jnp.ones(16))
    assert float(updated.metrics["redo_recycled"]) > 0
    before, after = state.params, updated.state.params
    observations = small_agents.observations(32, seed=9)
    outputs = [agent.apply(p, jax.random.key(2), batch.s_tm1) for p in (before, after)]
    np.testing.assert_allclose(*outputs, rtol=1e-6)
    changed = np.any(before["torso/linear_0"]["w"] != after["torso/linear_0"]["w"], axis=0)
    np.testing.assert_array_equal(changed, dead)
    np.testing.assert_array_equal(after["torso/linear_0"]["b"][dead], 0)
    np.testing.assert_array_equal(after["action_hidden"]["w"][dead], 0)
    kept = before["action_hidden"]["w"][~dead], after["action_hidden"]["w"][~dead]
    hidden = np.asarray(
        (agent.units(before, jax.random.key(0), batch.s_tm1)["action_hidden"].post == 0).all(0)
    )
    np.testing.assert_array_equal(kept[0][:, ~hidden], kept[1][:, ~hidden])
    assert observations.shape == (32, 2)


def test_a_recycled_unit_learns_again():
    """Its own weights get a gradient as soon as somebody listens: in the second update."""
    agent = _agent(optimizer={"learning_rate": 1e-2, "name": "adam_ages"})
    state = _with_a_dead_unit(_start(agent))
    weights = []
    for k in range(3):
        batch = small_agents.transitions(32, seed=k)
        state = agent.update(state, jax.random.key(k), batch, jnp.ones(32)).state
        weights.append(np.asarray(state.params["torso/linear_0"]["w"][:, DEAD]))
    assert (weights[2] != weights[1]).any()
    assert not _dead(agent, state.params, small_agents.transitions(64))[DEAD]


def test_moments_and_ages_of_recycled_units_begin_anew():
    agent = _agent(optimizer={"learning_rate": 1e-3, "name": "adam_ages"})
    plain = _agent(optimizer={"learning_rate": 1e-3, "name": "adam_ages"}, interventions=())
    state, batch = _with_a_dead_unit(_start(plain)), small_agents.transitions(16)
    for k in range(4):
        state = plain.update(state, jax.random.key(k), batch, jnp.ones(16)).state
    state = state._replace(interventions=_start(agent).interventions)
    dead = _dead(agent, state.params, batch)
    after = agent.update(state, jax.random.key(9), batch, jnp.ones(16)).state
    ages = [
        x for x in jax.tree.leaves(after.opt_state) if x.dtype == jnp.int32 and x.shape == (2, 8)
    ]
    assert len(ages) == 1
    np.testing.assert_array_equal(ages[0], np.where(dead, 0, 5)[None].repeat(2, 0))


def test_a_unit_of_a_convolution_is_a_channel_in_every_position():
    """Of Nature's torso; the head reads channel c of its last layer at c, c + 64, c + 128, ..."""
    network = value_network.make(
        value_network.Settings(
            torso=nature.Settings(),
            norm=normalization.Normalization("layer"),
            head=action_values.Settings(hidden_size=4, dueling=False, noisy=False),
        ),
        2,
        1,
    )
    observations = jax.ShapeDtypeStruct((1, 4, 44, 44), jnp.uint8)
    init = lambda rng, x: network.init(rng, x, False)  # noqa: E731
    shapes = jax.eval_shape(init, jax.random.key(0), observations)
    params = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)
    problem = agents_base.Problem(observations, 2, 4, 2)
    declared = value_based.declared_network(init, problem)
    chosen = {"torso/conv_2": jnp.arange(64) == 5}
    masks = unit_masks.of_units(params, declared, chosen)
    assert set(masks.weights) == {"['torso/conv_2']['w']"}
    assert set(masks.scales) == {"['torso/norm_2']['scale']"}
    fresh = jax.tree.map(lambda x: 2 * jnp.ones(x.shape, x.dtype), shapes)
    after = unit_masks.begin_anew(params, fresh, masks)
    rows = np.flatnonzero(np.asarray(after["action_hidden"]["w"] == 0).all(1))
    np.testing.assert_array_equal(rows % 64, 5)
    assert len(rows) == params["action_hidden"]["w"].shape[0] // 64
    kernel = np.asarray(after["torso/conv_2"]["w"])
    assert (kernel[..., 5] == 2).all()
    assert (np.delete(kernel, 5, axis=-1) == 1).all()


def test_of_two_features_a_unit_both_must_be_dormant():
    pre = jnp.array([[1.0, -1.0, 0.0]])
    units = activations.Units(pre, activations.Settings("crelu")(pre))
    np.testing.assert_array_equal(redo.is_dormant(units, 0.0), [False, False, True])


def test_a_unit_has_both_scales_of_a_norm_behind_its_two_features():
    sections = small_agents.sections("dqn", norm="layer", interventions=(DUE,))
    norm = dataclasses.replace(sections.network.norm, position="post")
    network = dataclasses.replace(
        sections.network, norm=norm, activation=activations.Settings("crelu")
    )
    agent = agents_base.make(sections._replace(network=network), small_agents.PROBLEM)
    params = _start(agent).params
    scale = params["torso/norm_0"]["scale"]
    masks = unit_masks.of_units(
        params, agent.declared, {"torso/linear_0": jnp.arange(scale.size // 2) == 1}, 2
    )
    (mask,) = masks.scales.values()
    np.testing.assert_array_equal(np.flatnonzero(mask), [1, 1 + scale.size // 2])


def test_a_network_without_declared_units_is_refused():
    params = {"hidden": {"w": jnp.ones((2, 2))}}
    declared = types.DeclaredNetwork((types.DeclaredLayer("hidden", "hidden", ("w",), ()),))
    seen = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    subject = base.Subject(declared, params, lambda rng: params, 4.0, lambda *_: {}, seen)
    with pytest.raises(checks.ConfigError, match="redo: expected a network that declares its"):
        redo.make(dataclasses.replace(DUE), subject)

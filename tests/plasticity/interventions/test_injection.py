"""Plasticity injection: outputs stay, only what is new learns, moments begin at 0."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base as agents_base
from core import checks
from networks import injecting
from plasticity import layers
from plasticity.interventions import base, injection, layer_reset
from tests.agents import small_agents

MADE = (("dqn", "head"), ("dqn", "network"), ("rainbow", "head"), ("iqn", "network"))
# In updates of 4 frames: after the second and the fourth.
AT_FRAMES = (8, 16)


@functools.cache
def make(name, scope, times=1, is_projected=False, formulation="reference", others=()):
    optimizer = {"learning_rate": 1e-2, "name": "adam_ages", "kwargs": {"eps": 1e-10}}
    if is_projected:
        optimizer["projection"] = small_agents.PROJECTED
    sections = small_agents.sections(
        name,
        optimizer=optimizer,
        norm="layer" if is_projected else "none",
        interventions=(injection.Settings(at_frames=AT_FRAMES[:times]), *others),
    )
    chosen = injecting.Settings(times=times, scope=scope)
    network = dataclasses.replace(sections.network, injection=chosen)
    sections = sections._replace(network=network, formulation=formulation)
    agent = agents_base.make(sections, small_agents.PROBLEM)
    return agent, jax.jit(agent.update)


def run(made, num_updates, state=None):
    agent, update = made
    state = state or agent.init(jax.random.key(0), small_agents.observations(1))
    for k in range(int(state.updates), num_updates):
        batch = small_agents.transitions(8, seed=k)
        state = update(state, jax.random.key(k), batch, jnp.ones(8)).state
    return state


def output(agent, params):
    x = small_agents.observations(16)
    return np.asarray(agents_base.action_values(agent.apply(params, jax.random.key(5), x)))


def is_of(path, kind):
    return f"['injection_{kind}/" in path


def changed(before, after):
    """Paths of the parameters that differ, without gates."""
    first, second = layers.leaves_by_path(before), layers.leaves_by_path(after)
    return {
        path
        for path in first
        if "gate_" not in path and not np.array_equal(first[path], second[path])
    }


def shut(params):
    """The same parameters with every gate shut."""
    return layers.map_leaves(
        lambda path, x: jnp.zeros_like(x),
        params,
        {path for path in layers.leaves_by_path(params) if "gate_" in path},
    )


@pytest.mark.parametrize(("name", "scope"), MADE)
def test_an_injection_changes_no_output_and_then_the_new_layers_alone_learn(name, scope):
    made = make(name, scope)
    agent = made[0]
    before = run(made, 1)
    assert not any("injection" in path for path in changed(run(made, 0).params, before.params))
    at = run(made, 2, before)
    for params in (at.params, at.target_params):
        assert float(params["injection"]["gate_1"]) == 1
        # Equal but for the rounding of two programs.
        np.testing.assert_allclose(output(agent, params), output(agent, shut(params)), atol=1e-6)
    after = run(made, 3, at)
    learned = changed(at.params, after.params)
    ones = jax.tree.map(jnp.ones_like, at.params)
    kept = layers.leaves_by_path(agent.of_learning(ones, at.params))
    assert learned <= {path for path, mask in kept.items() if np.all(mask)}
    assert not any(np.any(mask) for path, mask in kept.items() if is_of(path, "1_old"))
    assert any(is_of(path, "1_new") for path in learned)
    assert not any(is_of(path, "1_old") for path in learned)
    others = {path for path in learned if not is_of(path, "1_new")}
    if scope == "network":
        assert not others
    else:  # the torso, and what else is in front of the head
        heads = ("action_", "value_", "advantage_")
        assert others
        assert not any(f"['{head}" in path for path in others for head in heads)
    assert not np.array_equal(output(agent, after.params), output(agent, at.params))


@pytest.mark.parametrize("formulation", ["reference", "compute_once", "few_kernels"])
def test_in_a_loss_too_both_parts_of_what_is_added_have_the_same_noise(formulation):
    agent, update = make("rainbow", "head", formulation=formulation)
    at = run((agent, update), 2)
    batch = small_agents.transitions(8, seed=9)
    losses = []
    for params, target in (
        (at.params, at.target_params),
        (shut(at.params), shut(at.target_params)),
    ):
        state = at._replace(params=params, target_params=target)
        losses.append(update(state, jax.random.key(7), batch, jnp.ones(8)).metrics["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_a_reset_of_layers_leaves_frozen_ones_alone_in_the_target_as_well():
    """It falls on the third update, after which no copy to the target is due."""
    reset = layer_reset.Settings(period_frames=12, layers=".*")
    agent, update = make("dqn", "head", others=(reset,))
    at = run((agent, update), 2)
    after = run((agent, update), 3, at)
    ones = jax.tree.map(jnp.ones_like, at.params)
    learns = layers.leaves_by_path(agent.of_learning(ones, at.params))
    frozen = {path for path, mask in learns.items() if not np.any(mask)}
    assert frozen
    assert not frozen & changed(at.target_params, after.target_params)
    assert changed(at.target_params, after.target_params)


def test_twice_the_second_new_layers_learn_and_the_first_rest():
    made = make("dqn", "network", times=2)
    at = run(made, 4)
    np.testing.assert_array_equal(
        output(made[0], at.params),
        output(
            made[0],
            {
                **at.params,
                "injection": {
                    **at.params["injection"],
                    "gate_2": 0 * at.params["injection"]["gate_2"],
                },
            },
        ),
    )
    learned = changed(at.params, run(made, 5, at).params)
    assert learned
    assert all(is_of(path, "2_new") for path in learned)


def test_a_target_that_is_kept_at_a_reset_keeps_its_open_gates():
    """As with a trigger, which opens the first gate of the new network."""
    made = make("dqn", "network", times=2)
    at = run(made, 4)
    new = at._replace(params=shut(at.params))
    subject = base.Subject(made[0].declared, at.params, *[None] * 4)  # pyright: ignore
    operation = injection.when_asked(injection.Settings(at_frames=()), subject).operation
    after, _, _ = operation.apply(new, (), None, None)
    gates = [
        [float(params["injection"][f"gate_{k}"]) for k in (1, 2)]
        for params in (after.params, after.target_params)
    ]
    assert gates == [[1, 0], [1, 1]]


def test_more_than_nine_gates_open_in_their_order():
    shapes = {f"injection_{k}_new/linear": {"w": np.zeros(1)} for k in range(1, 12)}
    shapes["injection"] = {f"gate_{k}": np.zeros(()) for k in range(1, 12)}
    nothing: Any = None
    subject = base.Subject(nothing, shapes, nothing, 4.0, nothing, nothing)
    paths = injection._gates(subject)
    assert paths == [f"['injection']['gate_{k}']" for k in range(1, 12)]


def test_the_new_layers_begin_with_fresh_moments():
    """The first step of Adam is the learning rate for every element with a gradient."""
    made = make("dqn", "network")
    at = run(made, 2)
    after = run(made, 3, at)
    first, second = (layers.leaves_by_path(x.params) for x in (at, after))
    steps = np.concatenate(
        [np.abs(second[p] - first[p]).ravel() for p in first if is_of(p, "1_new")]
    )
    moved = steps[steps > 0]
    assert moved.size
    np.testing.assert_allclose(moved, 1e-2, rtol=0.05)


def test_frozen_layers_stay_bit_for_bit_with_projection_too():
    made = make("rainbow", "network", is_projected=True)
    at = run(made, 2)
    after = run(made, 6, at)
    assert all(is_of(path, "1_new") for path in changed(at.params, after.params))
    norms, started = made[0].norms(after.params), made[0].norms(run(made, 0).params)
    for layer, norm in norms.items():
        if layer.startswith("injection_1_new"):
            assert float(norm) == pytest.approx(float(started[layer]), rel=1e-5)


def test_as_many_parameters_learn_as_before():
    agent, _ = make("dqn", "network")
    sizes = {"new": 0, "own": 0}
    for path, leaf in layers.leaves_by_path(run(make("dqn", "network"), 0).params).items():
        if "injection" not in path:
            sizes["own"] += leaf.size
        elif is_of(path, "1_new"):
            sizes["new"] += leaf.size
    assert sizes["new"] == sizes["own"] > 0
    del agent


@pytest.mark.parametrize(
    ("times", "at_frames", "message"),
    [(2, (8,), "expected as many moments as network.injection.times, which is 2"),
     (2, (16, 8), "expected them in order")],
)  # fmt: skip
def test_moments_that_do_not_fit_the_network_are_refused(times, at_frames, message):
    listed = (injection.Settings(at_frames=at_frames),)
    sections = small_agents.sections("dqn", interventions=listed)
    chosen = injecting.Settings(times=times)
    network = dataclasses.replace(sections.network, injection=chosen)
    with pytest.raises(checks.ConfigError, match=message) as error:
        agents_base.make(sections._replace(network=network), small_agents.PROBLEM)
    assert "\n" not in str(error.value)

"""Operations that a metric triggers: when, once, and not again at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base as agents_base
from core import checks, types
from networks import activations, injecting
from plasticity import layers
from plasticity.interventions import (
    injection,
    layer_reset,
    noise,
    self_normalized_resets,
    trigger,
)
from tests.agents import small_agents


def _fires(values, refractory=4, **changes):
    """The updates, from 1 on, in which a scripted metric fires; measured in each that is open."""
    chosen = trigger.Settings(**{"momentum": 0.0, **changes})
    watch, found = trigger.new_watch(), []
    for k, value in enumerate(values, 1):
        if k >= int(watch.closed_until):
            fires, watch = trigger.judge(
                jnp.float32(value), watch, jnp.int32(k), chosen, refractory
            )
            found += [k] if fires else []
    return found


def test_srank_fires_once_when_it_fell_by_a_fifth_of_its_peak():
    """From 8 up to 10, below 8 in update 5; closed until 9, where the peak begins anew."""
    trace = [8, 9, 10, 8, 7.9, 7, 6, 5, 5, 5, 4.5, 4.1]
    assert _fires(trace) == [5]
    assert _fires([*trace, 3.9]) == [5, 13]


def test_a_share_fires_above_its_threshold_and_again_after_the_refractory_time():
    trace = [0.1, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.3]
    assert _fires(trace, metric="dead", threshold=0.2) == [2, 8]
    assert _fires(trace, metric="dead", threshold=0.3) == []


def test_the_average_is_what_has_to_cross():
    """With momentum 0.5: 0, .25, .375, .4375."""
    half = {"metric": "dormant", "momentum": 0.5, "threshold": 0.4}
    assert _fires([0.0, 0.5, 0.5, 0.5], **half) == [4]


def test_metrics_by_hand():
    h = jnp.array([[1.0, 0, 0, 0.001], [1.0, 0, 0, 0]])
    seen = {"a": activations.Units(h, h)}
    assert float(trigger.measure(seen, "dead")) == 0.5
    assert float(trigger.measure(seen, "dormant")) == 0.75
    convolution = jnp.ones((2, 3, 3, 1))
    both = {**seen, "b": activations.Units(convolution, convolution)}
    assert float(trigger.measure(both, "srank")) == 1


@pytest.mark.parametrize(
    ("metric", "values"), [("dead", [0.5, 0.0, 1 / 6]), ("srank", [1, 2, 1.5])]
)
def test_units_that_do_not_learn_do_not_count(metric, values):
    first = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    second = jnp.eye(4)[:2] + 1.0
    seen = {name: activations.Units(h, h) for name, h in (("a", first), ("b", second))}
    yes, no = jnp.array(True), jnp.array(False)
    found = [
        float(trigger.measure(seen, metric, {"a": a, "b": b}))
        for a, b in ((yes, no), (no, yes), (yes, yes))
    ]
    np.testing.assert_allclose(found, values, rtol=1e-6)
    of_all = float(trigger.measure(seen, metric))
    np.testing.assert_allclose(of_all, values[2], rtol=1e-6)
    assert float(trigger.measure(seen, metric, {"a": no})) == pytest.approx(values[1])


def test_before_an_injection_only_what_learns_is_measured():
    """A dead unit of eight in the torso and eight of the head: not of three such networks."""
    agent = _with_injection(times=1)
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    update = jax.jit(agent.update)
    batch = small_agents.transitions(8)
    seen = agent.units(state.params, jax.random.key(0), batch.s_tm1)
    unit = int(jnp.argmax(jnp.mean(seen["torso/linear_0"].post, axis=0)))
    shares = []
    for dead in (0, 1):
        params = {name: dict(leaves) for name, leaves in state.params.items()}
        bias = params["torso/linear_0"]["b"]
        params["torso/linear_0"]["b"] = bias.at[unit].set(-100.0 if dead else bias[unit])
        at = state._replace(params=params, updates=jnp.array(1, jnp.int32))
        updated = update(at, jax.random.key(0), batch, jnp.ones(8))
        shares.append(float(updated.metrics["trigger_dormant"]))
    units = sum(x.post.shape[-1] for name, x in seen.items() if not name.startswith("injection"))
    assert shares[1] - shares[0] == pytest.approx(1 / units, rel=1e-4)


def test_in_an_agent_it_resets_once_and_leaves_other_updates_alone():
    """The threshold is below what is dead from the start; measured every second update."""
    chosen = trigger.Settings(
        operation=layer_reset.Settings(layers="hidden"),
        metric="dead",
        threshold=0.0,
        period_frames=8,
    )
    optimizer = {"learning_rate": 1e-30, "kwargs": {}}
    agent = small_agents.make("dqn", interventions=(chosen,), optimizer=optimizer)
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    params = {name: dict(leaves) for name, leaves in state.params.items()}
    params["torso/linear_0"]["b"] = params["torso/linear_0"]["b"].at[3].set(-100.0)
    state, fired, changed = state._replace(params=params), [], []
    for k in range(6):
        before = state.params["value_hidden"]["mu_w"]
        batch = small_agents.transitions(8, seed=k)
        updated = agent.update(state, jax.random.key(k), batch, jnp.ones(8))
        state = updated.state
        fired.append(int(updated.metrics["trigger_fired"]))
        changed.append(bool((before != state.params["value_hidden"]["mu_w"]).any()))
    assert fired == [0, 1, 0, 0, 0, 0]
    assert changed == [bool(x) for x in fired]
    np.testing.assert_array_equal(
        state.params["torso/linear_0"]["b"], params["torso/linear_0"]["b"]
    )


def test_mapped_over_seeds_it_is_a_branch_that_only_due_updates_take():
    """What depends on the seed is computed in both branches: it is within that one."""
    chosen = trigger.Settings(operation=layer_reset.Settings(layers="hidden"), metric="dead")
    agent = small_agents.make("dqn", interventions=(chosen,))
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    states = jax.tree.map(lambda x: jnp.stack([x, x]), state)._replace(updates=state.updates)
    axes = types.TrainState(0, 0, 0, updates=None, interventions=0)
    batch, weights = small_agents.transitions(8), jnp.ones(8)
    update = lambda state, key: agent.update(state, key, batch, weights).state.params  # noqa: E731
    mapped = jax.vmap(update, in_axes=(axes, 0))
    traced = jax.make_jaxpr(mapped)(states, jax.random.split(jax.random.key(1)))
    names = [str(equation.primitive) for equation in traced.jaxpr.eqns]
    assert names.count("cond") == 2  # the copy to the target is the other


def _with_injection(times=2, at_frames=()):
    """An agent in which some unit is always dormant, looked at in every second update."""
    chosen = trigger.Settings(
        operation=injection.Settings(at_frames=at_frames),
        metric="dormant",
        threshold=0.0,
        period_frames=8,
        refractory_frames=0,
    )
    optimizer = {"learning_rate": 1e-2, "name": "adam_ages", "kwargs": {"eps": 1e-10}}
    sections = small_agents.sections("dqn", optimizer=optimizer, interventions=(chosen,))
    network = dataclasses.replace(
        sections.network, injection=injecting.Settings(times=times, scope="network")
    )
    return agents_base.make(sections._replace(network=network), small_agents.PROBLEM)


def test_an_injection_opens_one_gate_each_time_and_then_what_is_new_learns():
    agent = _with_injection()
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    params = {name: dict(leaves) for name, leaves in state.params.items()}
    params["torso/linear_0"]["b"] = params["torso/linear_0"]["b"].at[3].set(-100.0)
    state = state._replace(params=params)
    update, gates, learned = jax.jit(agent.update), [], []
    for k in range(8):
        before = layers.leaves_by_path(state.params)
        batch = small_agents.transitions(8, seed=k)
        state = update(state, jax.random.key(k), batch, jnp.ones(8)).state
        after = layers.leaves_by_path(state.params)
        changed = {path for path in after if not np.array_equal(before[path], after[path])}
        learned.append([any(f"injection_{n}_new/" in path for path in changed) for n in (1, 2)])
        gates.append(sum(int(state.params["injection"][f"gate_{k}"]) for k in (1, 2)))
    assert gates == [0, 1, 1, 2, 2, 2, 2, 2]
    assert [first for first, _ in learned] == [False, False, True, True, False, False, False, False]
    assert [second for _, second in learned] == [False] * 4 + [True] * 4


@pytest.mark.parametrize(("times", "at_frames"), [(0, ()), (1, (8,))])
def test_an_injection_with_moments_or_without_gates_can_not_be_triggered(times, at_frames):
    expected = r"trigger\.operation\.at_frames = \(.*expected \(\)"
    with pytest.raises(checks.ConfigError, match=expected):
        _with_injection(times, at_frames)


@pytest.mark.parametrize("operation", [self_normalized_resets.Settings(), noise.Settings()])
def test_what_can_not_be_triggered_is_refused(operation):
    expected = f"trigger.operation.module = '{operation.module}': expected one of injection, layer_"
    with pytest.raises(checks.ConfigError, match=expected):
        small_agents.make("dqn", interventions=(trigger.Settings(operation=operation),))

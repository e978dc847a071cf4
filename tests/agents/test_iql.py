"""Implicit Q-learning: its three losses by hand, whom their gradients reach, and its target."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base, iql, optimizers
from core import checks, types
from plasticity import schedules
from tests.agents import small_agents, toy_intervention
from tests.agents.small_agents import observations, transitions
from training import loop

BATCH = 8
RNG = jax.random.key(0)
SGD = {"name": "sgd", "kwargs": {}, "learning_rate": 1.0, "max_gradient_norm": 0.0}
# Of advantages of size 1, some weights are clipped and some are not.
CHANGES = {"expectile": 0.8, "temperature": 0.5, "max_advantage_weight": 1.2}


def make(**changes):
    """Without noise, so that outputs can be computed again."""
    return small_agents.make("iql", head={"noisy": False}, **{**CHANGES, **changes})


def init(agent):
    """A state whose networks, the target too, have random parameters of size 1."""
    random = np.random.RandomState(0)
    state = agent.init(RNG, observations(1))
    draw = lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32)  # noqa: E731
    return state._replace(
        params=jax.tree.map(draw, state.params),
        target_params=jax.tree.map(draw, state.target_params),
    )


def outputs(agent, state, s):
    """Of q, value, policy, and of q with the target's parameters, by name."""
    found = agent.apply(state.params, RNG, s)
    of_target = agent.apply({**state.params, "q": state.target_params}, RNG, s)
    return {
        "q": found.q_values,
        "value": found.value,
        "policy": found.policy,
        "target": of_target.q_values,
    }


def losses(agent, state, batch, changes=CHANGES):
    """The three losses [B] of a batch, and the advantages, in terms of the networks' outputs."""
    before, after = outputs(agent, state, batch.s_tm1), outputs(agent, state, batch.s_t)
    taken = lambda values: values[jnp.arange(BATCH), batch.a_tm1]  # noqa: E731
    advantage = taken(before["target"]) - before["value"][:, 0]
    goal = batch.r_t + batch.discount_t * after["value"][:, 0]
    weights = jnp.exp(jax.lax.stop_gradient(advantage) / changes["temperature"])
    if changes["max_advantage_weight"]:
        weights = jnp.minimum(weights, changes["max_advantage_weight"])
    share = jnp.where(advantage < 0, 1 - changes["expectile"], changes["expectile"])
    return {
        "value": share * advantage**2,
        "q": (jax.lax.stop_gradient(goal) - taken(before["q"])) ** 2,
        "policy": -taken(jax.nn.log_softmax(before["policy"])) * weights,
    }, advantage


def test_expectile_losses_by_hand():
    """Of 2 and -1 with 0.9: 0.9 * 4 and 0.1 * 1; with 0.5 half the squares."""
    found = iql.expectile_losses(jnp.float32([2, -1]), 0.9)
    np.testing.assert_allclose(found, [3.6, 0.1], rtol=1e-6)
    found = iql.expectile_losses(jnp.float32([2, -1]), 0.5)
    np.testing.assert_allclose(found, [2.0, 0.5], rtol=1e-6)


def test_weights_of_actions_by_hand():
    """Of 2, 0 and -2 over 2: the exponentials, clipped to 2.5; without a gradient of their own."""
    chosen = iql.Settings(temperature=2.0, max_advantage_weight=2.5)
    advantages = jnp.float32([2, 0, -2])
    found = iql.action_weights(advantages, chosen)
    np.testing.assert_allclose(found, [2.5, 1, np.exp(-1)], rtol=1e-6)
    unclipped = dataclasses.replace(chosen, max_advantage_weight=0.0)
    found = iql.action_weights(advantages, unclipped)
    np.testing.assert_allclose(found, np.exp([1, 0, -1]), rtol=1e-6)
    gradient = jax.grad(lambda a: iql.action_weights(a, unclipped).sum())(advantages)
    assert not np.asarray(gradient).any()


@pytest.mark.parametrize("max_advantage_weight", [1.2, 0.0])
def test_the_losses_are_those_of_the_outputs(max_advantage_weight):
    """Weights of actions are exp(A / 0.5), clipped to 1.2 or not at all (0)."""
    changes = {**CHANGES, "max_advantage_weight": max_advantage_weight}
    agent = make(max_advantage_weight=max_advantage_weight)
    state, batch = init(agent), transitions(BATCH)
    weights = jnp.linspace(0.1, 1, BATCH)
    metrics = jax.jit(agent.update)(state, RNG, batch, weights).metrics
    expected, advantage = losses(agent, state, batch, changes)
    unclipped = np.exp(np.asarray(advantage) / 0.5)
    assert (unclipped > 1.2).any()
    assert (unclipped < 1.2).any()
    for name, loss in expected.items():
        mean = float(jnp.mean(loss * weights))
        assert float(metrics[f"{name}_loss"]) == pytest.approx(mean, rel=1e-4)
    total = sum(float(metrics[f"{name}_loss"]) for name in expected)
    assert float(metrics["loss"]) == pytest.approx(total, rel=1e-5)
    assert float(metrics["advantage"]) == pytest.approx(float(advantage.mean()), rel=1e-4)


@pytest.mark.parametrize("name", iql.NETWORKS)
def test_each_loss_reaches_its_own_network_alone(name):
    """A network's step of plain descent is the gradient of its own loss with the others fixed."""
    agent = make(optimizer=SGD)
    state, batch = init(agent), transitions(BATCH)

    def own_loss(own):
        parameters = {**state.params, name: own}
        return jnp.mean(losses(agent, state._replace(params=parameters), batch)[0][name])

    gradient = jax.grad(own_loss)(state.params[name])
    after = jax.jit(agent.update)(state, RNG, batch, jnp.ones(BATCH)).state
    moved = jax.tree.map(lambda p, q: p - q, state.params[name], after.params[name])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # noqa: E731
    jax.tree.map(close, moved, gradient)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) > 0.01


def test_there_is_nothing_but_q_in_the_target():
    agent = make()
    state = agent.init(RNG, observations(1))
    jax.tree.map(np.testing.assert_array_equal, state.target_params, state.params["q"])


@pytest.mark.parametrize("step_size", [1.0, 0.25])
def test_the_target_goes_towards_q_whenever_it_is_due(step_size):
    """Every second update; by hand for a quarter of the way, or all of it, which is a copy."""
    agent = make(target_step_size=step_size)
    update = jax.jit(agent.update)
    states = [init(agent)]
    for i in range(4):
        batch = transitions(BATCH, seed=i)
        states.append(update(states[-1], RNG, batch, jnp.ones(BATCH)).state)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # noqa: E731
    for t in (1, 3):
        jax.tree.map(close, states[t].target_params, states[t - 1].target_params)
    for t in (2, 4):
        expected = jax.tree.map(
            lambda new, old: step_size * new + (1 - step_size) * old,
            states[t].params["q"],
            states[t - 1].target_params,
        )
        jax.tree.map(close, states[t].target_params, expected)


def test_a_schedule_is_named_with_its_network():
    for schedule, expected in (
        ({"name": "warmup_cosine", "warmup": 9, "duration": 5}, "optimizer.value.schedule.warmup"),
        ({"name": "norm_growth"}, "optimizer.value.schedule.name = 'norm_growth': expected anoth"),
    ):
        chosen = optimizers.Settings(schedule=schedules.ScheduleSettings(**schedule))
        section = iql.OptimizerSettings(value=chosen)
        with pytest.raises(checks.ConfigError) as caught:
            optimizers.check_schedules(section, 4.0)
        assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optimizer.policy.kwargs", {"foo": 1}, "optimizer.policy.kwargs.foo = 1: expected an arg"),
        ("optimizer.value.learning_rate", 0.0, "optimizer.value.learning_rate = 0.0: expected"),
        ("network.value.spectral_norm.layers", "nope", "network.value.spectral_norm.layers = "),
        ("optimizer.policy.projection.enabled", True, "optimizer.policy.projection"),
    ],
)
def test_what_is_wrong_is_named_with_its_network(key, value, expected, tmp_path):
    config = importlib.import_module("configs.probe").get_config("iql:5")
    config.update_from_flattened_dict({key: value})
    with pytest.raises(checks.ConfigError) as error:
        loop.Run(config, tmp_path / "run")
    assert str(error.value).startswith(expected)


def test_each_network_has_an_optimizer_of_its_own():
    """With its own learning rate, which the metrics have; `learning_rate` is that of Q."""
    rates = {"q": 1e-2, "value": 1e-3, "policy": 1e-4}
    sections = small_agents.sections("iql", head={"noisy": False})
    parts = {name: optimizers.Settings(learning_rate=rate) for name, rate in rates.items()}
    sections = sections._replace(optimizer=iql.OptimizerSettings(**parts))
    agent = base.make(sections, small_agents.PROBLEM)
    state = init(agent)
    arguments = (RNG, transitions(BATCH), jnp.ones(BATCH))
    updated = jax.jit(agent.update)(state, *arguments)
    for name, rate in rates.items():
        assert float(updated.metrics[f"{name}_learning_rate"]) == pytest.approx(rate, rel=1e-6)
        # Adam's first step is that of its rate in every direction whose gradient is not tiny.
        steps = jax.tree.map(
            lambda p, q: float(jnp.abs(p - q).max()), state.params[name], updated.state.params[name]
        )
        assert max(jax.tree.leaves(steps)) == pytest.approx(rate, rel=0.02)
    assert float(updated.metrics["learning_rate"]) == pytest.approx(1e-2, rel=1e-6)
    assert updated.priorities is None
    by_layer = agent.measure(state, *arguments)["learning_rate"]
    for layer, rate in by_layer.items():
        assert float(rate) == pytest.approx(rates[layer.partition("/")[0]], rel=1e-6)


@pytest.mark.parametrize(("acting", "output"), [("policy", "policy"), ("q", "q_values")])
def test_actions_are_the_best_of_the_network_that_acts(acting, output):
    epsilon = dataclasses.replace(iql.Settings().epsilon, evaluation=0.0)
    agent = make(acting=acting, epsilon=epsilon)
    params, x = init(agent).params, observations(64)
    actions = agent.act(params, RNG, x, jnp.int32(0), "evaluation")
    values = np.asarray(getattr(agent.apply(params, RNG, x), output))
    np.testing.assert_array_equal(actions, values.argmax(1))
    assert len(set(np.asarray(actions).tolist())) > 1


def test_layers_are_named_by_network():
    agent = make()
    modules = {layer.module.partition("/")[0] for layer in agent.declared.layers}
    assert modules == set(iql.NETWORKS)
    assert all(isinstance(layer, types.DeclaredLayer) for layer in agent.declared.layers)
    found = agent.units(init(agent).params, RNG, observations(2))
    assert {name.partition("/")[0] for name in found} == set(iql.NETWORKS)


def test_interventions_change_the_critic_alone():
    """Half of each of Q's parameters is left by a step of 1 along 2 * 0.25 w."""
    optimizer = {"name": "sgd", "kwargs": {}, "learning_rate": 1.0, "max_gradient_norm": 0.0}
    agent = make(interventions=(toy_intervention.Settings(strength=0.25),), optimizer=optimizer)
    state = init(agent)
    batch = transitions(BATCH)
    after = agent.update(state, RNG, batch, jnp.zeros(BATCH)).state.params
    expected = {**state.params, "q": jax.tree.map(lambda p: p / 2, state.params["q"])}
    jax.tree.map(np.testing.assert_array_equal, after, expected)

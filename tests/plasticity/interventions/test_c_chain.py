"""Churn: of which states and parameters, its gradient, and its coefficient's trace in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import base as agents_base
from plasticity.interventions import base, c_chain
from tests.agents import small_agents

CHOSEN = c_chain.Settings(batch_size=8)
AGENTS = ("dqn", "rainbow")


def _agent(name="dqn", **changes):
    chosen = c_chain.Settings(**{"batch_size": 8, **changes})
    optimizer, head = {"learning_rate": 1e-2}, {"noisy": name == "rainbow"}
    return small_agents.make(name, interventions=(chosen,), optimizer=optimizer, head=head)


def _run(agent, num_updates):
    """The states before each update and after the last, and their batches."""
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    update, states, batches = jax.jit(agent.update), [state], []
    for k in range(num_updates):
        batches.append(small_agents.transitions(8, seed=10 + k))
        updated = update(states[-1], jax.random.key(k), batches[-1], jnp.ones(8))
        states.append(updated.state)
    return states, batches, updated.metrics


@pytest.mark.parametrize("name", AGENTS)
def test_the_reference_is_the_batch_of_two_updates_ago(name):
    """And the parameters those of one update ago, for values and distributions alike."""
    states, batches, metrics = _run(_agent(name), 4)
    own = states[3].interventions["c_chain"]["regularizer"]
    np.testing.assert_array_equal(own.reference, batches[1].s_tm1)
    np.testing.assert_array_equal(own.newest, batches[2].s_tm1)
    for x, y in zip(jax.tree.leaves(own.before), jax.tree.leaves(states[2].params)):
        np.testing.assert_array_equal(x, y)
    assert float(metrics["c_chain_churn"]) > 0
    assert float(metrics["c_chain_coefficient"]) == 50


def test_churn_is_the_mean_squared_change_of_all_values():
    agent = _agent()
    states, _, metrics = _run(agent, 4)
    own = states[3].interventions["c_chain"]["regularizer"]
    key = jax.random.key(0)
    values = [agent.apply(states[i].params, key, own.reference) for i in (2, 3)]
    expected = np.mean(np.square(np.subtract(*values)))
    assert float(metrics["c_chain_churn"]) == pytest.approx(float(expected), rel=1e-4)


def test_the_first_two_updates_have_no_term():
    for num_updates in (1, 2):
        states, _, metrics = _run(_agent(), num_updates)
        assert float(metrics["c_chain_churn"]) == 0
    plain = small_agents.make("dqn", optimizer={"learning_rate": 1e-2}, head={"noisy": False})
    without, _, _ = _run(plain, 2)
    for x, y in zip(*(jax.tree.leaves(s[-1].params) for s in (states, without))):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", AGENTS)
def test_parameters_that_did_not_change_have_neither_churn_nor_gradient(name):
    """Nor do noisy layers make any."""
    agent = _agent(name)
    params = agent.init(jax.random.key(0), small_agents.observations(1)).params
    subject = base.Subject(agent.declared, params, None, 4.0, None, agent.observations)  # pyright: ignore
    regularizer = c_chain.make(CHOSEN, subject).regularizer
    state = regularizer.init(params)._replace(
        reference=small_agents.observations(8), count=jnp.int32(5)
    )

    def q_values(params, rng, observations):
        output = agent.apply(params, rng, observations)
        return getattr(output, "q_values", output)

    context = base.Context(params, None, jax.random.key(3), agent.apply, q_values)  # pyright: ignore
    term = lambda p: regularizer.loss(p, state, None, context)[0]  # noqa: E731
    value, grads = jax.value_and_grad(term)(params)
    assert float(value) == 0
    assert all(float(jnp.max(jnp.abs(g))) == 0 for g in jax.tree.leaves(grads))
    moved = jax.tree.map(lambda p: p + 0.1, params)
    assert float(term(moved)) > 0


def test_the_coefficient_equals_a_numpy_trace():
    chosen = c_chain.Settings(share=0.01, adapt_after_updates=6, half_life_updates=3)
    random = np.random.RandomState(0)
    losses, churns = random.normal(size=12), random.uniform(1e-4, 1e-3, size=12)
    nothing = jnp.zeros(1)
    state = c_chain.ChurnState((), nothing, nothing, jnp.zeros(()), jnp.zeros(()), jnp.int32(0))
    found, expected, means = [], [], np.zeros(2)
    for k, (loss, churn) in enumerate(zip(losses, churns)):
        found.append(float(c_chain.coefficient(state, chosen)))
        expected.append(0.01 * means[0] / means[1] if k >= 6 else 50.0)
        state = c_chain.average(state, jnp.float32(loss), jnp.float32(churn), chosen)
        if k >= 2:
            means = 0.5 ** (1 / 3) * means + (1 - 0.5 ** (1 / 3)) * np.array([abs(loss), churn])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_after_a_reset_it_begins_anew():
    """Though the run has gone on: no term for two updates, and the coefficient of the start."""
    agent = _agent(adapt_after_updates=2)
    states, _, _ = _run(agent, 4)
    fresh = agent.init(jax.random.key(1), small_agents.observations(1))
    what = agents_base.Forget(params=True, target=True, moments=True, schedule=False)
    state = agent.forget(states[-1], fresh, what)
    for k, has_churn in enumerate((False, False, True)):
        batch = small_agents.transitions(8, seed=20 + k)
        updated = jax.jit(agent.update)(state, jax.random.key(k), batch, jnp.ones(8))
        state = updated.state
        assert (float(updated.metrics["c_chain_churn"]) > 0) == has_churn
        assert float(updated.metrics["c_chain_coefficient"]) == 50
    assert int(state.updates) == 7


def test_a_half_life_of_35_000_weighs_as_50_000_in_a_list():
    """The sum of the weights, the newest having 1: 35,000 / ln 2 = 50,494."""
    weights = 1 / (1 - 0.5 ** (1 / 35_000))
    assert weights == pytest.approx(50_494, rel=1e-3)


def test_a_smaller_batch_is_repeated():
    agent = _agent(batch_size=12)
    states, batches, _ = _run(agent, 2)
    newest = states[-1].interventions["c_chain"]["regularizer"].newest
    np.testing.assert_array_equal(newest[8:], batches[1].s_tm1[:4])

"""Continual backpropagation: utilities by hand, and what a replaced unit leaves behind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import types
from networks import activations
from plasticity.interventions import base, continual_backprop, hidden_units
from tests.agents import small_agents

ADAPTABLE = continual_backprop.Settings(utility="adaptable_contribution")


def _units(h):
    return activations.Units(jnp.asarray(h), jnp.asarray(h))


def _agent(**changes):
    chosen = continual_backprop.Settings(**{"rate": 0.25, "maturity_updates": 0, **changes})
    optimizer = {"learning_rate": 1e-30, "kwargs": {}}
    head = {"dueling": False, "noisy": False}
    return small_agents.make("dqn", head=head, optimizer=optimizer, interventions=(chosen,))


def test_utility_by_hand():
    """Of h = (1, 3), w_out = (.5, -.5), w_in = (2, 2): 1 * .5 / 2; plain: 2 * .5."""
    units = _units([[1.0], [3.0]])
    w = continual_backprop.Strengths(jnp.array([0.5]), jnp.array([2.0]))
    for chosen, expected in ((ADAPTABLE, 0.25), (continual_backprop.Settings(), 1.0)):
        history = continual_backprop.advance(
            continual_backprop.new_history(units), units, w, chosen
        )
        found = continual_backprop.corrected(history.utility, history.ages, chosen.decay)
        np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_strengths_are_mean_magnitudes_of_both_sides():
    agent = _agent()
    params = agent.init(jax.random.key(0), small_agents.observations(1)).params
    subject = _subject(agent, params)
    found = continual_backprop.strengths(params, subject, "torso/linear_0")
    w_in, w_out = params["torso/linear_0"]["w"], params["action_hidden"]["w"]
    np.testing.assert_allclose(found.incoming, np.abs(w_in).mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.outgoing, np.abs(w_out).mean(1), rtol=1e-6)


def _subject(agent, params):
    return base.Subject(
        agent.declared, params, lambda rng: params, 4.0, agent.units, agent.observations
    )


@pytest.mark.parametrize("chosen", [ADAPTABLE, continual_backprop.Settings()])
def test_averages_equal_a_numpy_twin(chosen):
    random = np.random.RandomState(0)
    batches = random.normal(size=(5, 6, 3)).astype(np.float32)
    w_out, w_in = np.array([0.5, 1, 2]), np.array([1, 2, 4.0])
    w = continual_backprop.Strengths(jnp.asarray(w_out), jnp.asarray(w_in))
    history = continual_backprop.new_history(_units(batches[0]))
    mean, utility = np.zeros(3), np.zeros(3)
    for k, h in enumerate(batches, 1):
        history = continual_backprop.advance(history, _units(h), w, chosen)
        mean = 0.99 * mean + 0.01 * h.mean(0)
        if chosen is ADAPTABLE:
            new = np.abs(h - mean / (1 - 0.99**k)).mean(0) * w_out / w_in
        else:
            new = np.abs(h).mean(0) * w_out
        utility = 0.99 * utility + 0.01 * new
    np.testing.assert_allclose(history.utility, utility, rtol=1e-4)
    np.testing.assert_allclose(history.mean, mean, rtol=1e-4, atol=1e-6)


def test_fractions_of_units_are_saved_up():
    """After T updates floor(rate * n * T) units were replaced: the least useful, mature ones."""
    chosen = continual_backprop.Settings(rate=1 / 64, maturity_updates=2)
    history = continual_backprop.new_history(_units(np.zeros((1, 8))))
    history = history._replace(ages=jnp.full(8, 3), utility=jnp.arange(8.0)[::-1] + 1)
    replaced = []
    for _ in range(20):
        found, history = continual_backprop.pick(history, chosen)
        replaced.append(np.flatnonzero(found).tolist())
    assert [len(x) for x in replaced] == [0] * 7 + [1] + [0] * 7 + [1] + [0] * 4
    assert replaced[7] == replaced[15] == [7]
    young = history._replace(ages=jnp.full(8, 2), pending=jnp.float32(3))
    assert not continual_backprop.pick(young, chosen)[0].any()


def test_bias_correction_is_by_a_units_own_age():
    history = continual_backprop.new_history(_units(np.zeros((1, 2))))
    history = history._replace(utility=jnp.array([1.0, 1.0]), ages=jnp.array([1, 500]))
    found = continual_backprop.corrected(history.utility, history.ages, 0.99)
    np.testing.assert_allclose(found, [100, 1 / (1 - 0.99**500)], rtol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "crelu"])
def test_at_the_average_activation_the_readers_hear_the_same(activation):
    units = 4 if activation == "crelu" else 8
    agent = _agent()
    params = agent.init(jax.random.key(0), small_agents.observations(1)).params
    subject = _subject(agent, params)
    if activation == "crelu":
        subject = subject._replace(units=lambda *_: {"torso/linear_0": _Two})
    hidden = hidden_units.HiddenUnits(subject, ("torso/linear_0",))
    mean = jnp.arange(8.0)
    chosen = {"torso/linear_0": jnp.arange(units) == 2}
    after = continual_backprop.give_to_biases(params, hidden, chosen, {"torso/linear_0": mean})
    silent = mean * (1 - jnp.tile(chosen["torso/linear_0"], 8 // units))
    reads = lambda p, h: h @ p["action_hidden"]["w"] + p["action_hidden"]["b"]  # noqa: E731
    np.testing.assert_allclose(reads(after, silent), reads(params, mean), rtol=1e-5, atol=1e-6)
    assert not np.allclose(reads(params, silent), reads(params, mean))


_Two = activations.Units(jnp.zeros((1, 4)), jnp.zeros((1, 8)))


def test_a_replaced_units_channel_gives_its_average_at_every_position():
    """A flattened convolution: 3 positions of 2 channels; and a kernel that reads both."""
    declared = types.DeclaredNetwork(
        (
            types.DeclaredLayer("conv", "hidden", ("w",), ("b",)),
            types.DeclaredLayer("dense", "hidden", ("w",), ("b",)),
            types.DeclaredLayer("next", "hidden", ("w",), ("b",)),
        ),
        (
            types.DeclaredUnits(
                "conv", ("conv",), (types.Reader("dense", 3), types.Reader("next", 1))
            ),
        ),
    )
    random = np.random.RandomState(1)
    params = {
        "conv": {"w": jnp.ones((2, 2, 1, 2)), "b": jnp.zeros(2)},
        "dense": {"w": jnp.asarray(random.normal(size=(6, 4))), "b": jnp.zeros(4)},
        "next": {"w": jnp.asarray(random.normal(size=(3, 3, 2, 5))), "b": jnp.ones(5)},
    }
    subject = base.Subject(
        declared, params, lambda rng: params, 4.0, lambda *_: {}, small_agents.PROBLEM.observations
    )
    hidden = hidden_units.HiddenUnits(subject, ("conv",))
    units, means = {"conv": jnp.array([False, True])}, {"conv": jnp.array([7.0, 2.0])}
    after = continual_backprop.give_to_biases(params, hidden, units, means)
    rows = np.asarray(params["dense"]["w"])[1::2]
    np.testing.assert_allclose(after["dense"]["b"], 2 * rows.sum(0), rtol=1e-5)
    kernel = np.asarray(params["next"]["w"])[:, :, 1]
    np.testing.assert_allclose(after["next"]["b"], 1 + 2 * kernel.sum((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(after["conv"]["b"], 0)


def test_in_an_agent_replaced_units_begin_anew_with_their_history():
    agent = _agent()
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    batch = small_agents.transitions(16)
    updated = agent.update(state, jax.random.key(1), batch, jnp.ones(16))
    history = updated.state.interventions["continual_backprop"]["operation"]["torso/linear_0"]
    replaced = np.asarray(history.ages == 0)
    assert int(replaced.sum()) == 2  # 8 units, a quarter in each update
    assert int(updated.metrics["continual_backprop_replaced"]) == 4  # of two layers
    np.testing.assert_array_equal(np.asarray(history.utility)[replaced], 0)
    np.testing.assert_array_equal(updated.state.params["action_hidden"]["w"][replaced], 0)
    kept = updated.state.params["torso/linear_0"]["w"][:, ~replaced]
    np.testing.assert_array_equal(kept, state.params["torso/linear_0"]["w"][:, ~replaced])

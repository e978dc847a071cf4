"""Self-normalized resets: who is late, and thresholds by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from networks import activations
from plasticity.interventions import self_normalized_resets as snr
from tests.agents import small_agents

CHOSEN = snr.Settings(start_updates=3, max_updates=10)


def _advance(silences, pattern):
    """Who began anew in each update, given who fires in each, [T, C]."""
    found = []
    for firing in pattern:
        late, silences = snr.advance(silences, jnp.asarray(firing, bool))
        found.append(np.asarray(late).tolist())
    return np.asarray(found), silences


def test_a_silent_unit_begins_anew_and_one_that_always_fires_never():
    """After more than 3 silent updates, over and over."""
    found, silences = _advance(snr.new_silences(2, CHOSEN), [[0, 1]] * 8)
    np.testing.assert_array_equal(found[:, 0], [0, 0, 0, 1, 0, 0, 0, 1])
    assert not found[:, 1].any()
    assert int(silences.counts[0, 4]) == 2
    assert int(silences.counts[1].sum()) == 0


def test_silences_are_counted_when_they_end():
    pattern = np.array([1, 0, 1, 0, 0, 1, 1, 0, 1])[:, None]
    _, silences = _advance(snr.new_silences(1, CHOSEN), pattern)
    np.testing.assert_array_equal(silences.counts[0, :4], [0, 2, 1, 0])
    assert int(silences.ages[0]) == 0


def test_thresholds_by_hand():
    """Of nine silences of 1 and one of 2 the 90th percentile is 1; of those all too long, twice."""
    counts = np.zeros((4, 12), int)
    counts[0, 1], counts[0, 2] = 9, 1
    counts[1, 1], counts[1, 2] = 8, 2
    counts[2, 4] = 5
    silences = snr.new_silences(4, CHOSEN)._replace(counts=jnp.asarray(counts))
    after = snr.set_thresholds(silences, CHOSEN)
    np.testing.assert_array_equal(after.thresholds, [1, 2, 6, 3])
    assert int(after.counts.sum()) == 0
    again = after._replace(counts=jnp.asarray(np.eye(12, dtype=int)[[11] * 4]))
    np.testing.assert_array_equal(snr.set_thresholds(again, CHOSEN).thresholds, [2, 4, 10, 6])


def test_a_unit_fires_where_one_feature_is_above_0_for_one_input():
    post = jnp.array([[0.0, 0, 0, 0], [0, 0, 0, 1]])
    found = snr.fires(activations.Units(jnp.zeros((2, 2)), post))
    np.testing.assert_array_equal(found, [False, True])


def test_a_dead_unit_of_an_agent_begins_anew():
    optimizer = {"learning_rate": 1e-30, "kwargs": {}}
    head = {"dueling": False, "noisy": False}
    chosen = snr.Settings(start_updates=2)
    agent = small_agents.make("dqn", head=head, optimizer=optimizer, interventions=(chosen,))
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    params = {name: dict(leaves) for name, leaves in state.params.items()}
    params["torso/linear_0"]["b"] = params["torso/linear_0"]["b"].at[3].set(-100.0)
    state = state._replace(params=params)
    batch, biases = small_agents.transitions(64), []
    for k in range(3):
        state = agent.update(state, jax.random.key(k), batch, jnp.ones(64)).state
        biases.append(float(state.params["torso/linear_0"]["b"][3]))
    assert biases == [-100, -100, 0]
    np.testing.assert_array_equal(state.params["action_hidden"]["w"][3], 0)

"""Units that are silenced: how many, when, and by which numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core import checks
from plasticity.interventions import silence
from tests.agents import small_agents

NOW = silence.Settings(share=0.25, bias=-100.0, at_frames=8)  # the second update


def _agent(**changes):
    return small_agents.make("dqn", interventions=(NOW,), **changes)


def _states(agent, number):
    state = agent.init(jax.random.key(0), small_agents.observations(1))
    for k in range(number):
        yield state
        batch = small_agents.transitions(8, seed=k)
        state = agent.update(state, jax.random.key(k), batch, jnp.ones(8)).state


@pytest.mark.parametrize(("norm", "name"), [("none", "b"), ("layer", "offset")])
def test_a_share_of_every_layer_is_off_for_every_input_from_one_moment_on(norm, name):
    agent = _agent(norm=norm, head={"dueling": False, "noisy": False})
    for k, state in enumerate(_states(agent, 4)):
        units = agent.units(state.params, jax.random.key(9), small_agents.observations(64))
        for found in units.values():
            silent = int(np.sum(np.asarray(found.pre.max(0)) < -50))
            assert silent == (2 if k >= 2 else 0), (k, found.pre.shape)
        numbers = [leaves[name] for leaves in state.params.values() if name in leaves]
        silenced = [int(np.sum(np.asarray(x) < -50)) for x in numbers]
        assert sum(silenced) == (4 if k >= 2 else 0)


def test_layers_with_nothing_to_silence_them_by_are_refused():
    with pytest.raises(checks.ConfigError, match="silence: expected layers that have biases, or"):
        _agent(norm="rms")


def test_another_share_takes_another_number_of_units():
    chosen = dataclasses.replace(NOW, share=1.0)
    agent = small_agents.make("dqn", interventions=(chosen,))
    *_, state = _states(agent, 3)
    units = agent.units(state.params, jax.random.key(9), small_agents.observations(16))
    assert all(float(found.post.max()) == 0 for found in units.values())

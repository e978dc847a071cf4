"""configs/lab: one for each intervention, and each builds an agent that makes an update."""

import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

import configs.lab
from core import plugins
from training import derived, experiment, run_settings

NAMES = sorted({module.name for module in pkgutil.iter_modules(configs.lab.__path__)} - {"task"})
# Shown under the names of their forms.
_FORMS = {"towards_initial": {"l2_init", "wasserstein_init"}}


def _config(name):
    return importlib.import_module(f"configs.lab.{name}").get_config()


def test_every_intervention_has_a_config():
    for module in plugins.names("plasticity.interventions"):
        assert _FORMS.get(module, {module}) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_builds_an_agent_and_an_update(name):
    settings = run_settings.parse(derived.resolve(_config(name)))
    observation = specs.BoundedArray((4,), np.float32, -1, 1)
    agent = experiment.make_agent(settings, observation, specs.DiscreteArray(2))
    assert settings.name == f"lab_{name}"
    assert agent.measure_units is not None
    x = jnp.zeros((4, 4))
    step = experiment.replay_base.Transition(
        x, jnp.zeros(4, jnp.int32), jnp.zeros(4), jnp.ones(4), x
    )
    state = jax.eval_shape(agent.init, jax.random.key(0), x)
    after = jax.eval_shape(agent.update, state, jax.random.key(0), step, jnp.ones(4))
    assert jax.tree.structure(after.state) == jax.tree.structure(state)

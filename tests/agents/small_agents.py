"""Small agents of any kind on vectors of length 2: perceptrons, and random data."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import base, optimizers
from core import plugins, types
from networks import normalization, value_network
from networks.heads import action_values
from networks.torsos import mlp
from plasticity import projection

NUM_ACTIONS = 3
NAMES = plugins.names("agents")
# Made of the parts that dqn, rainbow and iqn are made of: what does not depend on the loss is asked
# of those alone.
_ALIKE = {"classification", "classifier", "c51", "double_q", "prioritized", "qrdqn"}
KINDS = sorted(set(NAMES) - _ALIKE)
PROBLEM = base.Problem(
    jax.ShapeDtypeStruct((1, 2), jnp.float32),
    NUM_ACTIONS,
    update_period_frames=4,
    target_period_updates=2,
)


def everywhere(section: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The section with every part of it that is of this kind changed."""
    if isinstance(section, kind):
        return change(section)
    parts = {field.name: getattr(section, field.name) for field in dataclasses.fields(section)}
    changed = {
        name: everywhere(part, kind, change)
        for name, part in parts.items()
        if dataclasses.is_dataclass(part)
    }
    return dataclasses.replace(section, **changed)


def sections(name: str, **changes: Any) -> base.Sections:
    """The parts of a configuration of the agent `name`: its defaults in a small network.

    `changes` are of its own section, and the larger ones `norm` (kind), `head` (keys of every
    head), `optimizer` (keys of every optimizer) and `interventions`.
    """
    module = plugins.find("agents", name, "agent.module")
    norm = normalization.Normalization(changes.pop("norm", "none"))
    head = {"hidden_size": 8, **changes.pop("head", {})}
    optimizer = changes.pop("optimizer", {})
    listed = changes.pop("interventions", ())

    def shrink(network: value_network.Settings) -> value_network.Settings:
        own_head = dataclasses.replace(network.head, **head)
        torso = mlp.Settings(hidden_sizes=(8,))
        return value_network.Settings(torso=torso, norm=norm, head=own_head)

    return base.Sections(
        agent=dataclasses.replace(module.Settings(), **changes),
        network=everywhere(module.NetworkSettings(), value_network.Settings, shrink),
        optimizer=everywhere(
            module.OptimizerSettings(),
            optimizers.Settings,
            lambda chosen: dataclasses.replace(chosen, **optimizer),
        ),
        interventions=tuple(listed),
    )


def make(name: str, problem: base.Problem = PROBLEM, **changes: Any) -> base.Agent:
    """The agent of `sections`."""
    return base.make(sections(name, **changes), problem)


def observations(batch: int, seed: int = 1) -> jax.Array:
    """Random ones [B, 2]."""
    return jnp.asarray(np.random.RandomState(seed).normal(size=(batch, 2)), jnp.float32)


def transitions(batch: int = 4, seed: int = 2) -> types.Transition:
    """Random ones [B, ...]."""
    random = np.random.RandomState(seed)
    return types.Transition(
        s_tm1=observations(batch, seed + 1),
        a_tm1=jnp.asarray(random.randint(NUM_ACTIONS, size=batch), jnp.int32),
        r_t=jnp.asarray(random.normal(size=batch), jnp.float32),
        discount_t=jnp.full(batch, 0.9),
        s_t=observations(batch, seed + 2),
    )


PLAIN_HEAD = action_values.Settings(dueling=False, noisy=False)
PROJECTED = projection.ProjectionSettings(enabled=True)

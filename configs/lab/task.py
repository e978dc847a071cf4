"""The task of configs/lab: DQN on CartPole, 20,000 steps, with units, ranks and layers measured."""

from collections.abc import Mapping
from typing import Any, Literal

from agents import classification
from configs import cartpole_dqn, modifiers
from core import settings


def make(name: str, *interventions: Mapping[str, Any]) -> Any:
    """The config of a method, not locked.

    Args:
      name: of the method.
      interventions: its items of `interventions`, keys left out have their defaults.
    """
    config = cartpole_dqn.get_config()
    config.unlock()
    modifiers.named(config, f"lab_{name}")
    config.num_frames = 20_000
    config.replay.capacity = 20_000
    config.interventions = tuple(dict(item) for item in interventions)
    config.log.layers_period_frames = 2_000
    config.log.units_period_frames = 2_000
    config.log.ranks_period_frames = 10_000
    config.log.probe_size = 512
    return config


def with_classification(config: Any, target: Literal["hl_gauss", "two_hot"]) -> Any:
    """The config, not locked, with values learned by classification to a kind of target."""
    agent = settings.to_config(classification.Settings(target=target, v_max=100.0))
    agent.epsilon = config.agent.epsilon
    config.agent = agent
    return config

"""Regression on a target that changes slowly, by a network that is too small for it.

    python -m scripts.train --config=configs/supervised/slow_regression.py:nap

The argument is plain, ln or nap. After Dohare et al. 2024: one of 15 slow bits flips every 10,000
examples; five hidden units, one example an update, half the squared error. Theirs are 1,000,000
examples or more, and several step sizes; ours: Adam at 1e-3. A perceptron here has two hidden
layers at least: of five units each. Regression is a value of one action and one step: the agent is
DQN with a discount of 0.
"""

from typing import Any

from agents import dqn
from configs.supervised import random_labels, stream
from core import settings
from envs import slow_regression


def get_config(arm: str = "plain") -> Any:
    """The config; `arm` is one of random_labels'.

    Raises:
      ConfigError: for another arm.
    """
    name = "slow_regression" if arm == "plain" else f"slow_regression_{arm}"
    config = stream.make(name, (5, 5), batch_size=1, num_tasks=100, updates=10_000)
    with config.unlocked():
        config.environment.each = settings.to_config(slow_regression.Settings())
        config.agent = settings.to_config(dqn.Settings(loss="squared"))
    return random_labels.with_arm(config, arm).lock()

"""CartPole whose observations are shifted by another constant in every task.

    python -m scripts.train --config=configs/cartpole_stream.py:c51:nap

The argument is an agent and an arm of configs/streams.py. What to look at is `mean_return` in
train.csv, of the episodes of each task; 20 tasks of 15,000 steps with an update each.

After Muppidi et al. 2024 (arXiv 2405.16642), whose agent is PPO; the protocol is this project's.
Nothing was tuned. Shifts are of different sizes, and tasks not equally hard: compare arms.
"""

from typing import Any

from configs import streams
from core import settings
from envs import cartpole


def get_config(argument: str = "c51:plain") -> Any:
    """The config; `argument` is an agent and an arm.

    Raises:
      ConfigError: for another agent or arm.
    """
    agent, arm = streams.choose(argument)
    config = streams.make(agent, width=128)
    streams.named(config, "cartpole", agent, arm)
    with config.unlocked():
        config.environment.each = settings.to_config(cartpole.Settings())
    streams.with_tasks(config, number=20, frames=15_000, frames_per_update=1)
    config.transition.n_step = 3
    if agent == "rainbow":
        config.network.head.noisy_sigma = 0.5  # as in configs/cartpole.py
    streams.with_returns(config, v_max=100.0, epsilon=0.05)
    streams.ARMS[arm](config)
    return config.lock()

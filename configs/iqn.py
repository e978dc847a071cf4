"""IQN on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/iqn.py:breakout

Shows: quantiles of the return at shares that are drawn.
Source [Z]: google-deepmind/dqn_zoo, dqn_zoo/iqn/run_atari.py at 45061f4b. Not run at full
length here.
"""

from typing import Any

from configs import dqn


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = dqn.with_adam(dqn.make("iqn", "uniform", game), 5e-5)
    config.optimizer.max_gradient_norm = 0.0  # [Z]
    config.replay.min_size = config.agent.epsilon.begin_steps = 20_000  # [Z] 0.02 of the capacity
    # Units are seen at every share: 64 times as many numbers as of other agents.
    config.log.probe_size = 128
    return config.lock()

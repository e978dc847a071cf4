"""Prioritized DQN on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/prioritized.py:breakout

Shows: Double DQN with the prioritized replay.
Source [Z]: google-deepmind/dqn_zoo, dqn_zoo/prioritized/run_atari.py at 45061f4b. Not run at full
length here.
"""

from typing import Any

from configs import double_q, dqn


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = double_q.make("prioritized", "prioritized", game)
    dqn.with_rmsprop(config, 2.5e-4 / 4, eps=0.01 / 32**2 / 4**2)
    config.replay.priority_exponent = 0.6
    config.replay.max_priority = 1e9  # [Z] has no bound
    return config.lock()

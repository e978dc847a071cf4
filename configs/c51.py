"""C51 on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/c51.py:breakout

Shows: a distribution of the return in place of its mean.
Source [Z]: google-deepmind/dqn_zoo, dqn_zoo/c51/run_atari.py at 45061f4b. Not run at full
length here.
"""

from typing import Any

from configs import dqn


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = dqn.with_adam(dqn.make("c51", "uniform", game), 2.5e-4)
    return config.lock()

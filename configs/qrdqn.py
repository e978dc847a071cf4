"""QR-DQN on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/qrdqn.py:breakout

Shows: quantiles of the return at fixed shares.
Source [Z]: google-deepmind/dqn_zoo, dqn_zoo/qrdqn/run_atari.py at 45061f4b. Not run at full
length here.
"""

from typing import Any

from configs import dqn


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = dqn.with_adam(dqn.make("qrdqn", "uniform", game), 5e-5)
    return config.lock()

"""Double DQN on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/double_q.py:breakout

Shows: what choosing the target's action by the online network changes.
Source [Z]: google-deepmind/dqn_zoo, dqn_zoo/double_q/run_atari.py at 45061f4b. Not run at full
length here.
"""

from typing import Any

from configs import dqn


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    return make("double_q", "uniform", game).lock()


def make(agent: str, replay: str, game: str) -> Any:
    """The config for another agent or replay."""
    config = dqn.with_rmsprop(dqn.make(agent, replay, game), 2.5e-4)
    dqn.with_epsilons(config, 0.01, 0.01)
    config.network.head.shared_bias = True
    config.training.target_update_period_frames = 120_000
    return config

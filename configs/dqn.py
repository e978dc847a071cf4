"""DQN on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/dqn.py:breakout

Shows: what Rainbow's parts add to, and the shortest agent to read and to copy (agents/dqn.py).
Source [Z]: google-deepmind/dqn_zoo, dqn_zoo/dqn/run_atari.py at 45061f4b. Not run at full length
here.
"""

from typing import Any

from configs import modifiers, rainbow


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = rainbow.make("atari", "dqn", "uniform")
    config.environment.game = game
    config.transition.n_step = 1  # [Z]
    modifiers.with_plain_head(config)
    config.replay.min_size = 50_000  # [Z] 0.05 of the capacity
    with_rmsprop(config, 2.5e-4)
    config.training.target_update_period_frames = 40_000  # [Z]
    return config.lock()


def with_rmsprop(config: Any, learning_rate: float) -> Any:
    """[Z]'s centred RMSProp, without clipping of the whole gradient."""
    with config.unlocked():
        config.optimizer.kwargs = {"decay": 0.95, "eps": 0.01 / 32**2, "centered": True}
    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = learning_rate
    config.optimizer.max_gradient_norm = 0.0
    return config

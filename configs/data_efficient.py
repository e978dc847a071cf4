"""Data-efficient Rainbow, for runs of 100k to 400k frames.

    python -m scripts.train --config=configs/data_efficient.py:kung_fu_master

Source [D]: van Hasselt et al. 2019, "When to use parametric models in reinforcement learning?",
arXiv 1906.05243, appendix E; all else as configs/rainbow.py. Differences from [D] that remain:
8 environments at once, and the protocol dqn_zoo.
"""

from typing import Any

from configs import modifiers, rainbow
from networks.torsos import data_efficient as torso


def get_config(game: str = "kung_fu_master") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = rainbow.get_config(game)
    config.name = "data_efficient"
    config.num_envs = 8
    config.num_frames = 400_000  # [D] 100k agent steps
    config = modifiers.with_torso(config, torso.Settings())  # [D]
    config.network.head.hidden_size = 256  # [D]
    config.transition.n_step = 20  # [D]
    config.replay.capacity = 100_000  # [D] no transition is ever dropped
    config.replay.min_size = 1_600  # [D]
    config.optimizer.learning_rate = 1e-4  # [D]
    config.training.update_period_frames = 4  # [D] an update per agent step
    config.training.target_update_period_frames = 8_000  # [D] 2000 updates
    config.log.period_frames = 10_000
    config.log.layers_period_frames = 40_000
    config.evaluation.period_frames = 100_000
    config.evaluation.episodes = 10
    config.evaluation.num_envs = 5
    config.snapshot.period_frames = 100_000
    return config

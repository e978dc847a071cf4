"""Rainbow through ten games twice, without a word about the change of game.

    python -m scripts.train --config=configs/continual_rainbow.py
    python -m scripts.train --config=configs/continual_rainbow.py:small

Shows: the baseline of the continual runs (Lyle et al. 2024). Nothing is reset at a change of game.
The list and the order of the paper's games are not public; these are the Atari-10 set of
Aitchison et al. 2023. Full size: 10 games * 20M frames * 2 passes = 400M frames. The small size has
the same switches with 12k frames in each game, the network of data-efficient Rainbow, an update
every 8 frames and episodes of at most 27k frames: a quarter of an hour on one CPU core.
"""

import ml_collections
from ml_collections import config_dict

from configs import data_efficient, rainbow
from core import checks
from envs import game_sequence


def get_config(size: str = "full") -> ml_collections.ConfigDict:
    """The config; `size` is "full" or "small".

    Raises:
      ConfigError: for another size.
    """
    if size not in ("full", "small"):
        raise checks.ConfigError(f"size = {size!r}: expected 'full' or 'small'")
    config = rainbow.get_config() if size == "full" else data_efficient.get_config()
    with config.unlocked():
        config.environment = game_sequence.default_config()
        # Follows the games, their frames and num_passes.
        config.num_frames = config_dict.placeholder(int)
    config.num_passes = 2
    config.name = "continual_rainbow"
    if size == "full":
        config.evaluation.period_frames = 5_000_000
    else:
        _shrink(config)
    return config


def _shrink(config: ml_collections.ConfigDict) -> None:
    config.num_envs = 4
    config.environment.frames_per_game = 12_000
    config.environment.max_episode_frames = 27_000
    # Two games' transitions; at full size it is a fifth of a game's, too few here to learn from.
    config.replay.capacity = 6_000
    config.replay.min_size = 400
    config.training.update_period_frames = 8
    config.log.period_frames = 3_000
    config.log.layers_period_frames = 6_000
    config.evaluation.period_frames = 12_000
    config.evaluation.episodes = 5
    config.evaluation.num_envs = 5
    config.snapshot.period_frames = 60_000

"""Atari 100k with Normalize-and-Project at a constant learning rate.

    python -m scripts.train --config=configs/atari_100k_nap.py:kung_fu_master

Shows: what projection adds to LayerNorm (docs/results/atari_100k).
"""

import ml_collections

from configs import atari_100k_ln


def get_config(game: str = "kung_fu_master") -> ml_collections.ConfigDict:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = atari_100k_ln.get_config(game)
    config.name = "atari_100k_nap"
    config.optimizer.projection.enabled = True
    return config

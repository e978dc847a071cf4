"""Atari 100k with LayerNorm before every nonlinearity.

    python -m scripts.train --config=configs/atari_100k_ln.py:kung_fu_master

Shows: what normalization alone does (docs/results/atari_100k).
"""

import ml_collections

from configs import atari_100k


def get_config(game: str = "kung_fu_master") -> ml_collections.ConfigDict:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = atari_100k.get_config(game)
    config.name = "atari_100k_ln"
    config.network.norm.kind = "layer"
    return config

"""Atari 100k with LayerNorm before every nonlinearity.

    python -m scripts.train --config=configs/atari_100k_ln.py:kung_fu_master

Shows: what normalization alone does (docs/results/atari_100k).
"""

from typing import Any

from configs import atari_100k, modifiers


def get_config(game: str = "kung_fu_master") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_layer_norm(atari_100k.get_config(game))
    return modifiers.named(config, "atari_100k_ln")

"""Data-efficient Rainbow with LayerNorm before every nonlinearity, for short runs.

    python -m scripts.train --config=configs/data_efficient_ln.py:kung_fu_master

Shows: what normalization alone does, at a scale that two CPU cores allow.
"""

from typing import Any

from configs import data_efficient, modifiers


def get_config(game: str = "kung_fu_master") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_layer_norm(data_efficient.get_config(game))
    return modifiers.named(config, "data_efficient_ln")

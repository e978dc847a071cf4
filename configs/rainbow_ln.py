"""Rainbow with LayerNorm before every nonlinearity.

    python -m scripts.train --config=configs/rainbow_ln.py:breakout

Shows: what normalization alone does. The weights of normalized layers are scale-invariant and
their norms grow, so their effective learning rate decays unasked.
"""

import ml_collections

from configs import rainbow


def get_config(game: str = "pong") -> ml_collections.ConfigDict:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = rainbow.get_config(game)
    config.name = "rainbow_ln"
    config.network.norm.kind = "layer"
    return config

"""Rainbow with LayerNorm before every nonlinearity.

    python -m scripts.train --config=configs/rainbow_ln.py:breakout

Shows: what normalization alone does. The weights of normalized layers are scale-invariant and
their norms grow, so their effective learning rate decays implicitly.
"""

from typing import Any

from configs import modifiers, rainbow


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_layer_norm(rainbow.get_config(game))
    return modifiers.named(config, "rainbow_ln")

"""Rainbow with Normalize-and-Project: LayerNorm, and hidden weights kept at their initial norms.

    python -m scripts.train --config=configs/rainbow_nap.py:breakout

Shows: the effective learning rate is the one that is set, here a constant. The paper finds that
Rainbow needs the decay that norm growth gives it, so compare with rainbow_nap_schedule.
"""

from typing import Any

from configs import modifiers, rainbow


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_nap(rainbow.get_config(game))
    return modifiers.named(config, "rainbow_nap")

"""Atari 100k with Normalize-and-Project and a linear decay to a hundredth.

    python -m scripts.train --config=configs/atari_100k_nap_schedule.py:kung_fu_master

Shows: an explicit decay of the effective learning rate (docs/results/atari_100k). With another
learning rate, set `optimizer.schedule.end_value` to a hundredth of it.
"""

from typing import Any

from configs import atari_100k, modifiers


def get_config(game: str = "kung_fu_master") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_linear_decay(modifiers.with_nap(atari_100k.get_config(game)))
    return modifiers.named(config, "atari_100k_nap_schedule")

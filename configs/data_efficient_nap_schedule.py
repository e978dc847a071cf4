"""Data-efficient Rainbow with Normalize-and-Project and a linear decay, for short runs.

    python -m scripts.train --config=configs/data_efficient_nap_schedule.py:kung_fu_master

Shows: an explicit decay of the effective learning rate, from Rainbow's to a hundredth of it over
the whole run. Where the paper's schedule starts and ends on single games is not known.
"""

from typing import Any

from configs import data_efficient, modifiers


def get_config(game: str = "kung_fu_master") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_linear_decay(modifiers.with_nap(data_efficient.get_config(game)))
    return modifiers.named(config, "data_efficient_nap_schedule")

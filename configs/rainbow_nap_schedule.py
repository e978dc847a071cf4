"""Rainbow with Normalize-and-Project and an explicit learning-rate schedule.

    python -m scripts.train --config=configs/rainbow_nap_schedule.py:breakout

Shows: an explicit linear decay in place of the implicit one. Where the paper's schedule starts
and ends on single games is not known: here it goes from Rainbow's learning rate to a hundredth
of it over the whole run. Other schedules by name: plasticity/schedules.py.
"""

from typing import Any

from configs import modifiers, rainbow


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_linear_decay(modifiers.with_nap(rainbow.get_config(game)))
    return modifiers.named(config, "rainbow_nap_schedule")

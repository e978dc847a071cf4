"""Rainbow with Normalize-and-Project and an explicit learning-rate schedule.

    python -m scripts.train --config=configs/rainbow_nap_schedule.py:breakout

Shows: an explicit linear decay in place of the implicit one. Where the paper's schedule starts
and ends on single games is not known: here it goes from Rainbow's learning rate to a hundredth
of it over the whole run. Other schedules by name: plasticity/schedules.py.
"""

import ml_collections

from configs import rainbow_nap


def get_config(game: str = "pong") -> ml_collections.ConfigDict:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = rainbow_nap.get_config(game)
    config.name = "rainbow_nap_schedule"
    schedule = config.optimizer.schedule
    schedule.name = "linear"
    schedule.unit = "frames"
    schedule.end_value = 6.25e-7
    return config

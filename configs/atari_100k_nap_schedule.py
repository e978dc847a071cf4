"""Atari 100k with Normalize-and-Project and a linear decay to a hundredth.

    python -m scripts.train --config=configs/atari_100k_nap_schedule.py:kung_fu_master

Shows: an explicit decay of the effective learning rate (docs/results/atari_100k). Who sets another
learning rate sets `optimizer.schedule.end_value` to a hundredth of it.
"""

import ml_collections

from configs import atari_100k_nap


def get_config(game: str = "kung_fu_master") -> ml_collections.ConfigDict:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = atari_100k_nap.get_config(game)
    config.name = "atari_100k_nap_schedule"
    schedule = config.optimizer.schedule
    schedule.name = "linear"
    schedule.unit = "frames"
    schedule.end_value = 1e-6
    return config

"""Rainbow with the residual torso of IMPALA (Espeholt et al. 2018) on one Atari game.

    python -m scripts.train --config=configs/impala.py:breakout
    python -m scripts.train --config=configs/impala.py:breakout --config.network.torso.blocks=3

Shows: the torso's keys, which only a config with this torso has. The channels are those of the
paper's large network. Not run at full length here.
"""

from typing import Any

from configs import modifiers, rainbow
from networks.torsos import impala


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_torso(rainbow.get_config(game), impala.Settings())
    return modifiers.named(config, "impala")

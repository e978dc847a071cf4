"""Data-efficient Rainbow with Normalize-and-Project, for runs of 100k to 400k frames.

    python -m scripts.train --config=configs/data_efficient_nap.py:kung_fu_master

Shows: learning within minutes on two CPU cores. The small network, long returns and one update
per agent step of van Hasselt et al. 2019 (arXiv 1906.05243) [D], here in 8 environments at once.
`data_efficient_ln.py` is the same without projection.
"""

from typing import Any

from configs import data_efficient, modifiers


def get_config(game: str = "kung_fu_master") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = modifiers.with_nap(data_efficient.get_config(game))
    return modifiers.named(config, "data_efficient_nap")

"""Rainbow through ten games twice, without being told of the change of game.

    python -m scripts.train --config=configs/continual_rainbow.py
    python -m scripts.train --config=configs/continual_rainbow.py:small

Shows: the baseline of the continual runs (Lyle et al. 2024). Nothing is reset at a change of game.
The list and the order of the paper's games are not public. The default is the ten games of Abbas
et al. 2023 in their order (S-ALE): their continual run also has ten games of 20M frames, and an
institution in common with the paper. --config.environment.games=s_ale_5 is the five that they
visit for longer, atari_10 the set of Aitchison et al. 2023. Full size: 10 games * 20M frames * 2
passes = 400M frames. The small size (modifiers.small) has the network of data-efficient Rainbow.
"""

from typing import Any

from configs import data_efficient, modifiers, rainbow


def get_config(size: str = "full") -> Any:
    """The config; `size` is "full" or "small".

    Raises:
      ConfigError: for another size.
    """
    modifiers.check_choice("size", size, ("full", "small"))
    config = rainbow.get_config() if size == "full" else data_efficient.get_config()
    config = modifiers.named(modifiers.continual(config), "continual_rainbow")
    config.evaluation.period_frames = 5_000_000
    return config if size == "full" else modifiers.small(config)

"""Rainbow with Normalize-and-Project through the ten games twice, the schedule restarted in each.

    python -m scripts.train --config=configs/continual_nap_schedule.py:small

Shows: the continual run of the NaP paper. In every game the learning rate rises from 1e-8 to its
peak in 1000 updates, then falls to 1e-6 by half a cosine wave that lasts until the game's end. The
peak is 6.25e-4 (the paper's sources also admit Rainbow's own:
--config.optimizer.learning_rate=6.25e-5). In the small size the warm-up is a twentieth of a game.
Sizes: continual_rainbow.py.
"""

from typing import Any

from configs import continual_rainbow, modifiers


def get_config(size: str = "full") -> Any:
    """The config; `size` is "full" or "small"."""
    config = modifiers.with_nap(continual_rainbow.get_config(size))
    warmup_frames = 16_000 if size == "full" else 600
    config = modifiers.with_warmup_per_task(config, 6.25e-4, warmup_frames)
    return modifiers.named(config, "continual_nap_schedule")

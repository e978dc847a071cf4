"""Rainbow with Normalize-and-Project through the ten games twice, at a constant learning rate.

    python -m scripts.train --config=configs/continual_nap.py:small

Shows: the effective learning rate of the last game is that of the first. The paper's continual runs
restart a schedule in every game: continual_nap_schedule.py. Sizes: continual_rainbow.py.
"""

from typing import Any

from configs import continual_rainbow, modifiers


def get_config(size: str = "full") -> Any:
    """The config; `size` is "full" or "small"."""
    config = modifiers.with_nap(continual_rainbow.get_config(size))
    return modifiers.named(config, "continual_nap")

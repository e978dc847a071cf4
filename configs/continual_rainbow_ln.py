"""Rainbow with LayerNorm through the ten games twice.

    python -m scripts.train --config=configs/continual_rainbow_ln.py:small

Shows: what normalization alone does when the task changes; the norms of the normalized layers grow
from game to game, so their effective learning rate decays implicitly. Sizes: continual_rainbow.py.
"""

from typing import Any

from configs import continual_rainbow, modifiers


def get_config(size: str = "full") -> Any:
    """The config; `size` is "full" or "small"."""
    config = modifiers.with_layer_norm(continual_rainbow.get_config(size))
    return modifiers.named(config, "continual_rainbow_ln")

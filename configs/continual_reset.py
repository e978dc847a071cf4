"""Rainbow that begins anew in each of the ten games: the control for plasticity.

    python -m scripts.train --config=configs/continual_reset.py:small

Shows: what a fresh agent reaches in the same frames. Parameters, target network, optimizer, replay
and schedules are those of a new run in every game; where continual_rainbow reaches less than this,
it has lost plasticity; where more, it has gained by transfer. Sizes: continual_rainbow.py.
"""

from typing import Any

from configs import continual_rainbow, modifiers


def get_config(size: str = "full") -> Any:
    """The config; `size` is "full" or "small"."""
    config = modifiers.with_resets(continual_rainbow.get_config(size))
    return modifiers.named(config, "continual_reset")

"""Units that fall silent begin anew (Farias & Jozefiak 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "self_normalized_resets", {"module": "self_normalized_resets", "period_frames": 2_000}
    )
    config.optimizer.name = "adam_ages"
    return config.lock()

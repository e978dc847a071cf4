"""A new output layer every 5,000 steps (Nikishin et al. 2022)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "layer_reset", {"module": "layer_reset", "layers": "output", "period_frames": 5_000}
    )
    config.optimizer.name = "adam_ages"
    return config.lock()

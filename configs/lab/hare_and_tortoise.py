"""A return to the slow average every 5,000 steps (Lee et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "hare_and_tortoise", {"module": "hare_and_tortoise", "return_period_frames": 5_000}
    )
    return config.lock()

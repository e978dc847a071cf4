"""Parameters mixed with new ones every 5,000 steps (Ash & Adams 2020)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "shrink_and_perturb", {"module": "shrink_and_perturb", "share": 0.8, "period_frames": 5_000}
    )
    return config.lock()

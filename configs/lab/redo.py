"""Dormant units begin anew (Sokar et al. 2023)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("redo", {"module": "redo", "period_frames": 2_000})
    config.optimizer.name = "adam_ages"
    return config.lock()

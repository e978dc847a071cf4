"""Weights within bounds (Elsayed et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("weight_clipping", {"module": "weight_clipping", "kappa": 3.0})
    return config.lock()

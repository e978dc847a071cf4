"""Normalize-and-Project (Lyle et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("nap")
    config.network.norm.kind = "layer"
    config.optimizer.projection.enabled = True
    return config.lock()

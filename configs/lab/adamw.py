"""Decoupled weight decay."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("adamw")
    config.optimizer.name = "adamw"
    with config.unlocked():
        config.optimizer.kwargs = {"eps": 1e-6, "weight_decay": 1e-4}
    return config.lock()

"""CReLU for ReLU (Abbas et al. 2023)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("crelu")
    config.network.activation.kind = "crelu"
    return config.lock()

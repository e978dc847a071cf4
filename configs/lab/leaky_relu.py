"""LeakyReLU for ReLU."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("leaky_relu")
    config.network.activation.kind = "leaky_relu"
    return config.lock()

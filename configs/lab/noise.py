"""Noisy updates, relative to each layer's."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("noise", {"module": "noise", "form": "relative", "scale": 0.1})
    return config.lock()

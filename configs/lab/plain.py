"""The control: without any method."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("plain")
    return config.lock()

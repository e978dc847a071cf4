"""A learned scale of the distance from the first parameters (Muppidi et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("trac", {"module": "trac"})
    return config.lock()

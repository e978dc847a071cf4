"""Largest singular values at most 2."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("spectral_ball", {"module": "spectral_ball", "limit": 2.0})
    return config.lock()

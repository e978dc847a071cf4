"""Largest singular values towards 1 (Lewandowski et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("spectral", {"module": "spectral", "strength": 1e-4})
    return config.lock()

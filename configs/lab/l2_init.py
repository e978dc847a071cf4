"""Regularization towards the first parameters (Kumar et al. 2023)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("l2_init", {"module": "towards_initial", "strength": 1e-3})
    return config.lock()

"""Deep Fourier features (Lewandowski et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("fourier")
    config.network.activation.kind = "fourier"
    return config.lock()

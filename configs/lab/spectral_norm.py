"""Spectral normalization of the head's hidden layer (Gogianu et al. 2021)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("spectral_norm")
    config.network.spectral_norm.layers = "action_hidden"
    return config.lock()

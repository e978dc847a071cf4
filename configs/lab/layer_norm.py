"""LayerNorm before every nonlinearity."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("layer_norm")
    config.network.norm.kind = "layer"
    return config.lock()

"""LayerNorm after every nonlinearity."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("layer_norm_after")
    config.network.norm.kind = "layer"
    config.network.norm.position = "post"
    return config.lock()

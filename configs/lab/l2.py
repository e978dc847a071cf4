"""L2 regularization of all parameters, inside the loss."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("l2", {"module": "l2", "strength": 1e-5})
    return config.lock()

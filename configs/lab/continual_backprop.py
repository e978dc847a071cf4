"""The least useful units begin anew (Dohare et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "continual_backprop", {"module": "continual_backprop", "maturity_updates": 1_000}
    )
    config.optimizer.name = "adam_ages"
    return config.lock()

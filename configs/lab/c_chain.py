"""Less churn (Tang et al. 2025)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("c_chain", {"module": "c_chain", "adapt_after_updates": 1_000})
    return config.lock()

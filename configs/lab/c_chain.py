"""Less churn (Tang et al. 2025)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("c_chain", {"module": "c_chain"})
    return config.lock()

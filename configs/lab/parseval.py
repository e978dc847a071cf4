"""Hidden layers towards orthogonal ones (Chung et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("parseval", {"module": "parseval", "strength": 1e-4})
    return config.lock()

"""The same between sorted parameters (Lewandowski et al. 2024)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "wasserstein_init", {"module": "towards_initial", "form": "wasserstein", "strength": 1e-2}
    )
    return config.lock()

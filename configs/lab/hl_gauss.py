"""Values by classification (Farebrother et al. 2024): Gaussian targets."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    return task.with_classification(task.make("hl_gauss"), "hl_gauss").lock()

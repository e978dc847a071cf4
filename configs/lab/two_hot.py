"""Values by classification (Farebrother et al. 2024): two-hot targets."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    return task.with_classification(task.make("two_hot"), "two_hot").lock()

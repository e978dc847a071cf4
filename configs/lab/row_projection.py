"""Each unit's incoming weights at their first norm."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("row_projection", {"module": "row_projection"})
    return config.lock()

"""L2 whose strength rises over the run."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "incremental_l2",
        {"module": "l2", "strength": 0.0, "end_strength": 1e-4, "duration_frames": 20_000},
    )
    return config.lock()

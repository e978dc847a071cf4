"""L2 that is on for five parts of six, and begins on."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "periodic_l2", {"module": "l2", "strength": 1e-5, "on_frames": 5_000, "off_frames": 1_000}
    )
    return config.lock()

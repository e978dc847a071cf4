"""A reset of the output once a tenth of the units is dormant."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make(
        "trigger",
        {
            "module": "trigger",
            "metric": "dormant",
            "threshold": 0.1,
            "period_frames": 1_000,
            "operation": {"module": "layer_reset", "layers": "output"},
        },
    )
    config.optimizer.name = "adam_ages"
    return config.lock()

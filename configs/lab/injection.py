"""Plasticity injection into the head at half of the run (Nikishin et al. 2023)."""

from typing import Any

from configs.lab import task


def get_config() -> Any:
    """The config."""
    config = task.make("injection", {"module": "injection", "at_frames": (10_000,)})
    config.optimizer.name = "adam_ages"
    config.network.injection.times = 1
    return config.lock()

"""Features and weights on spheres (SimbaV2: Lee et al. 2025)."""

from typing import Any

from configs import modifiers
from configs.lab import task
from networks.torsos import hyperspherical


def get_config() -> Any:
    """The config."""
    config = task.make("hyperspherical", {"module": "row_projection", "layers": "torso"})
    modifiers.with_torso(config, hyperspherical.Settings())
    return config.lock()

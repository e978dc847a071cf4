"""The learning-rate decay that growing norms are, replayed on norms that stay.

    python -m scripts.train --config=configs/supervised/replayed_schedule.py:free --run_dir=FREE
    python -m scripts.train --config=configs/supervised/replayed_schedule.py:layer_wise \
        --config.optimizer.schedule.norms_file=FREE/norms_seed_1.csv

The argument is free, a run with LayerNorm that records its norms; or, with NaP, layer_wise, global
or constant: a decay for each layer, one for all, or none. After the sixth figure of Lyle et al.
2024, whose task is not told: here random_labels.py's, with 20 tasks.
"""

from typing import Any

from configs import modifiers
from configs.supervised import stream

_ARMS = ("free", "layer_wise", "global", "constant")


def get_config(arm: str = "free") -> Any:
    """The config; `arm` is free, layer_wise, global or constant.

    Raises:
      ConfigError: for another one.
    """
    modifiers.check_choice("arm", arm, _ARMS)
    name = "replayed_schedule" if arm == "free" else f"replayed_schedule_{arm}"
    config = stream.make(name, (128, 128, 128), batch_size=16, num_tasks=20, updates=4_000)
    config.environment.each.data = "patches"
    modifiers.with_layer_norm(config)
    # Whose norms are recorded, and projected, alike in all arms: those of weights.
    config.optimizer.projection.scale_offset = "free"
    config.log.layers_period_frames = 200 * config.num_envs
    if arm != "free":
        _project(config, arm)
    return config.lock()


def _project(config: Any, arm: str) -> None:
    """NaP under which the free run's function comes back with the right rates."""
    projection, schedule = config.optimizer.projection, config.optimizer.schedule
    projection.enabled = True
    projection.moments = "rescale"
    if arm != "constant":
        schedule.name = "norm_growth"
        schedule.layer_wise = arm == "layer_wise"

"""Rainbow on CartPole through gymnasium: solved in a minute or two on a CPU.

    python -m scripts.train --config=configs/cartpole.py

Expected: an evaluation return of 500 of 500 with seeds 1 and 3; with seed 2, 222.
"""

from typing import Any

from configs import modifiers, rainbow
from networks.torsos import mlp


def get_config(environment_id: str = "CartPole-v1") -> Any:
    """The config; `environment_id` is any gymnasium id with discrete actions and vectors."""
    config = rainbow.make("gymnasium_vector", "rainbow", "prioritized")
    config = modifiers.with_torso(config, mlp.Settings(hidden_sizes=(128,)))
    config = short(modifiers.named(config, "cartpole"))
    config.environment.id = environment_id
    config.agent.v_max = 100.0
    config.network.head.hidden_size = 128
    # With the 0.1 of rainbow.py two of three seeds never leave their first action.
    config.network.head.noisy_sigma = 0.5
    config.optimizer.learning_rate = 1e-3
    config.optimizer.kwargs.eps = 1e-6
    config.optimizer.schedule.name = "linear"
    config.optimizer.schedule.unit = "frames"
    return config.lock()


def short(config: Any) -> Any:
    """Lengths and periods for a minute or two on a CPU, for any agent."""
    config.num_envs = 8
    config.num_frames = 40_000
    config.transition.frame_stack = 0
    config.replay.capacity = 20_000
    config.replay.min_size = 500
    config.training.update_period_frames = 2
    config.training.target_update_period_frames = 500
    config.evaluation.period_frames = 10_000
    config.log.period_frames = 2_000
    config.log.layers_period_frames = 10_000
    config.snapshot.period_frames = 20_000
    return config

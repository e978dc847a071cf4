"""Double DQN on LunarLander with one of seven techniques that are to keep it plastic.

    python -m scripts.train --config=configs/lunar_lander_dqn.py:layer_norm

The small variant of configs/ms_pacman_dqn.py: 300,000 steps with an update each. Chosen here, as we
do not know them: when the epsilon falls, and where injection and periods stand in a run of this
length (at the same shares of it).
"""

from typing import Any

from configs import cartpole, modifiers, ms_pacman_dqn, rainbow
from networks.torsos import mlp


def get_config(technique: str = "none") -> Any:
    """The config; `technique` is one of ms_pacman_dqn.TECHNIQUES.

    Raises:
      ConfigError: for another technique.
    """
    config = cartpole.short(rainbow.make("gymnasium_vector", "double_q", "uniform"))
    modifiers.named(config, "lunar_lander_dqn")
    modifiers.with_torso(config, mlp.Settings(hidden_sizes=(64,)))
    modifiers.with_plain_head(config)
    config.network.head.hidden_size = 64
    config.environment.id = "LunarLander-v3"
    config.num_envs = 1
    config.num_frames = 300_000
    config.transition.n_step = 1
    config.transition.max_abs_reward = 0.0
    config.replay.capacity = 300_000
    config.replay.batch_size = 128
    config.replay.min_size = 20_000
    config.training.update_period_frames = 1
    config.training.target_update_period_frames = 1_000
    ms_pacman_dqn.with_squared_loss(config, 1e-3, eps=1e-8, max_gradient_norm=0.0)
    ms_pacman_dqn.with_exploration(config, 20_000, 50_000, 0.02)
    return ms_pacman_dqn.with_technique(config, technique, frames_per_step=1).lock()

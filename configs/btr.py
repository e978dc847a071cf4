"""The parts of Beyond the Rainbow (Clark et al. 2024, arXiv 2411.03820) on one Atari game.

    python -m scripts.train --config=configs/btr.py:breakout

Shows: how parts of this project make an agent without a file of its own. IMPALA's torso twice as
wide, with spectral normalization in its residual blocks and maps pooled to 6x6; implicit quantiles,
8 shares, of Munchausen's target; noisy dueling streams; returns of three steps; prioritized replay.
Not the authors' program: keys without a mark are this project's, and nothing of it was compared.
Not run at full length here.
"""

from typing import Any

from configs import modifiers, rainbow
from networks.torsos import impala


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = rainbow.make("atari", "iqn", "prioritized")
    config.environment.game = game
    modifiers.named(config, "btr")
    torso = impala.Settings(width_multiplier=2, pooled_size=6)  # [B]
    modifiers.with_torso(config, torso)
    config.network.spectral_norm.layers = "block_.*conv"  # [B]
    for key in ("tau_samples_policy", "tau_samples_tm1", "tau_samples_t"):
        config.agent[key] = 8  # [B]
    config.agent.munchausen.enabled = True  # [B]
    config.num_envs = 64  # [B]
    config.training.update_period_frames = 256  # [B] an update for 64 steps
    config.training.target_update_period_frames = 500 * 256
    config.transition.discount = 0.997  # [B]
    config.replay.batch_size = 256  # [B]
    config.replay.priority_exponent = 0.2  # [B]
    config.replay.min_size = 200_000
    config.optimizer.learning_rate = 1e-4  # [B]
    config.optimizer.kwargs.eps = 0.005 / 256
    config.agent.epsilon.begin_steps = 0
    config.agent.epsilon.end = 0.01
    config.agent.epsilon.evaluation = 0.0
    config.log.probe_size = 128
    return config.lock()

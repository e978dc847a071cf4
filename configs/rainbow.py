"""Rainbow on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/rainbow.py:breakout

Shows: the baseline of every comparison here. The full run is 200M frames and 12.5M updates.
Per-layer norms grow during training, so the effective learning rate decays implicitly.

These are the defaults of all sections; docs/configuration.md has them with their meanings and
sources (google-deepmind/dqn_zoo, dqn_zoo/rainbow at 45061f4b, and Hessel et al. 2018 where it
differs). Keys that are None follow others unless they are given: training/derived.py.
"""

from typing import Any

from cluster import distributed_settings
from core import settings
from training import run_settings


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = make("atari", "rainbow", "prioritized")
    config.environment.game = game
    return config.lock()


def make(environment: str, agent: str, replay: str) -> Any:
    """A config of defaults with other modules of envs/, agents/ and replay/device/."""
    config = run_settings.default_config(environment, agent, replay)
    config.name = agent
    config.distributed = settings.to_config(distributed_settings.DistributedSettings())
    return config

"""Changes that turn one experiment into another; each takes a config, changes it and returns it."""

from typing import Any

from ml_collections import config_dict

from core import checks, settings
from envs import game_sequence

Config = Any
"""A ConfigDict, whose attributes have no types."""


def named(config: Config, name: str) -> Config:
    """Another name, also for the run's directory."""
    config.name = name
    return config


def with_layer_norm(config: Config) -> Config:
    """LayerNorm before every nonlinearity."""
    config.network.norm.kind = "layer"
    return config


def with_nap(config: Config) -> Config:
    """Normalize-and-Project: LayerNorm, and hidden weights kept at their initial norms."""
    config = with_layer_norm(config)
    config.optimizer.projection.enabled = True
    return config


def with_linear_decay(config: Config) -> Config:
    """From the learning rate to a hundredth of it over the whole run."""
    schedule = config.optimizer.schedule
    schedule.name = "linear"
    schedule.unit = "frames"
    schedule.end_value = config.optimizer.learning_rate / 100
    return config


def with_warmup_per_task(config: Config, learning_rate: float, warmup_frames: int) -> Config:
    """In every task a warm-up to the learning rate, then half a cosine wave until its end."""
    config.optimizer.learning_rate = learning_rate
    config.task_switch.restart_schedule = True
    schedule = config.optimizer.schedule
    schedule.name = "warmup_cosine"
    schedule.unit = "frames"
    schedule.warmup = warmup_frames
    return config


def with_resets(config: Config) -> Config:
    """A new agent, an empty replay, and all schedules from their beginning in every task."""
    for key in config.task_switch:
        config.task_switch[key] = True
    return config


def with_torso(config: Config, torso: Any, network: str = "") -> Config:
    """Another torso.

    Args:
      config: the config.
      torso: an instance of the torso's `Settings`.
      network: which one, of an agent that has several.
    """
    with config.unlocked():
        _network(config, network).torso = settings.to_config(torso)
    return config


def with_plain_head(config: Config, network: str = "") -> Config:
    """One stream without noise, as DQN has it; `network` as in `with_torso`."""
    head = _network(config, network).head
    head.dueling = False
    head.noisy = False
    return config


def _network(config: Config, name: str) -> Any:
    return config.network[name] if name else config.network


def continual(config: Config, passes: int = 2) -> Config:
    """A sequence of games in place of one, with the run's length given in passes through it."""
    with config.unlocked():
        config.environment = settings.to_config(game_sequence.Settings())
        config.num_frames = config_dict.placeholder(int)
    config.num_passes = passes
    return config


def small(config: Config) -> Config:
    """A sequence for a quarter of an hour on one CPU core: the same switches in short games.

    12k frames in each game, an update every 8 frames, episodes of at most 27k frames.
    """
    config.num_envs = 4
    config.environment.frames_per_game = 12_000
    config.environment.max_episode_frames = 27_000
    # Two games' transitions; at full size it is a fifth of a game's, too few here to learn from.
    config.replay.capacity = 6_000
    config.replay.min_size = 400
    config.training.update_period_frames = 8
    config.log.period_frames = 3_000
    config.log.layers_period_frames = 6_000
    config.evaluation.period_frames = 12_000
    config.evaluation.episodes = 5
    config.evaluation.num_envs = 5
    config.snapshot.period_frames = 60_000
    return config


def check_choice(argument: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigError unless a config's argument is one of the choices."""
    if value not in choices:
        listed = " or ".join(map(repr, choices))
        raise checks.ConfigError(f"{argument} = {value!r}: expected {listed}")

"""Rainbow, or another agent, on a probe environment: a matter of seconds, to find errors.

    python -m scripts.train --config=configs/probe.py:3

Expected: the values that envs/probes.py names, within 0.1.
"""

from typing import Any

from configs import modifiers, rainbow
from core import checks
from networks.torsos import mlp


def get_config(probe: str = "1") -> Any:
    """The config; `probe` is the number of a probe environment, 1 to 5.

    Raises:
      ConfigError: if it is no number.
    """
    if not probe.isdecimal():
        raise checks.ConfigError(f"probe = {probe!r}: expected a number from 1 to 5")
    config = rainbow.make("probes", "rainbow", "prioritized")
    config = modifiers.with_torso(config, mlp.Settings(hidden_sizes=(32,)))
    config.environment.probe = int(probe)
    config.transition.n_step = 1
    config.agent.v_max = 2.0
    config.network.head.hidden_size = 32
    config.optimizer.learning_rate = 1e-3
    return short(modifiers.named(config, "probe")).lock()


def short(config: Any) -> Any:
    """Lengths and periods for a probe environment, whichever the agent."""
    config.num_envs = 4
    config.num_frames = 6_000
    config.transition.frame_stack = 0
    config.replay.capacity = 2_000
    config.replay.min_size = 100
    config.distributed.credit_frames = 400
    config.training.update_period_frames = 4
    config.training.target_update_period_frames = 200
    config.evaluation.period_frames = 0
    config.log.period_frames = 1_000
    config.log.layers_period_frames = 0
    config.log.tensorboard = False
    config.snapshot.period_frames = 6_000
    return config

"""Rainbow, or another agent, on a probe environment: a matter of seconds, to find errors.

    python -m scripts.train --config=configs/probe.py:3
    python -m scripts.train --config=configs/probe.py:dqn:3

Expected: the values that envs/probes.py names, within 0.1.
"""

from typing import Any

from configs import rainbow
from core import checks, plugins, settings
from networks.torsos import mlp

_WITH_PRIORITIES = ("rainbow", "prioritized")
# Of agents that have these keys: distributions that are quick to learn.
_AGENT = {
    "v_max": 2.0,
    "num_quantiles": 25,
    "tau_samples_policy": 16,
    "tau_samples_tm1": 16,
    "tau_samples_t": 16,
}


def get_config(probe: str = "1") -> Any:
    """The config; `probe` is a probe environment's number, 1 to 5, maybe after an agent's name.

    Raises:
      ConfigError: if it is no number, or there is no such agent.
    """
    agent, _, number = probe.rpartition(":")
    if not number.isdecimal():
        raise checks.ConfigError(f"probe = {probe!r}: expected a number from 1 to 5")
    agent = agent or "rainbow"
    plugins.find("agents", agent, "probe")
    replay = "prioritized" if agent in _WITH_PRIORITIES else "uniform"
    config = rainbow.make("probes", agent, replay)
    config.name = "probe" if agent == "rainbow" else f"probe_{agent}"
    config.environment.probe = int(number)
    config.transition.n_step = 1
    with config.unlocked():
        _shrink(config.network)
    _learn_fast(config.optimizer)
    config.agent.update({key: _AGENT[key] for key in _AGENT if key in config.agent})
    if "epsilon" in config.agent:
        config.agent.epsilon.begin_steps = 100
        config.agent.epsilon.decay_steps = 1_000
        config.agent.epsilon.end = 0.2
    return short(config).lock()


def _shrink(network: Any) -> None:
    """Small layers in every network of an agent; those with a hidden size are heads."""
    for name in list(network):
        if name == "torso":
            network.torso = settings.to_config(mlp.Settings(hidden_sizes=(32,)))
        elif name == "head":
            network.head.hidden_size = 32
        elif hasattr(network[name], "keys"):
            _shrink(network[name])


def _learn_fast(optimizer: Any) -> None:
    """A larger learning rate in every optimizer of an agent."""
    if "learning_rate" in optimizer:
        optimizer.learning_rate = 1e-3
        return
    for name in optimizer:
        _learn_fast(optimizer[name])


def short(config: Any) -> Any:
    """Lengths and periods for a probe environment, for any agent."""
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

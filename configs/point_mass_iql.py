"""IQL on PointmassHard from an explorer's data, with plasticity injected into Q 0, 1 or 2 times.

    python -m scripts.collect --config=configs/point_mass.py --explore --steps=10_000 \
        --output=datasets/point_mass.npz
    python -m scripts.train --config=configs/point_mass_iql.py:2

100,000 updates on the data, then as many with a step each, the data remaining in the replay. Source
[C]: Berkeley's CS285, fall 2023, homework 5, on which "Improving neural network plasticity in
reinforcement learning" (Cheng, Chen, Ma) injects; it does not tell when: here after 120,000 and
150,000 updates. Nor do we know its clipping of weights (here 100), its batches (128), or whether Q
has the explorer's learning rate, as here, or that of the other two networks.
"""

from typing import Any

from configs import modifiers, point_mass
from core import checks
from networks.torsos import mlp

_INJECTED_AT = (120_000, 150_000)
# Two hidden layers of that width, and the learning rate.
_NETWORKS = {"q": (64, 1e-3), "value": (64, 3e-4), "policy": (128, 3e-4)}


def get_config(times: str = "0") -> Any:
    """The config; `times` says how often plasticity is injected.

    Raises:
      ConfigError: if it is not 0, 1 or 2.
    """
    if times not in ("0", "1", "2"):
        raise checks.ConfigError(f"times = {times!r}: expected 0, 1 or 2")
    config = point_mass.make("iql", "hard")
    modifiers.named(config, "point_mass_iql" if times == "0" else f"point_mass_iql_{times}")
    for name, (size, learning_rate) in _NETWORKS.items():
        modifiers.with_torso(config, mlp.Settings(hidden_sizes=(size,)), network=name)
        modifiers.with_plain_head(config, network=name)
        config.network[name].head.hidden_size = size
        point_mass.like_torch(config.optimizer[name], learning_rate)
    config.agent.expectile = 0.99  # [C]
    config.agent.temperature = 10.0  # [C]
    # [C] Its IQL is a DQN agent with more networks, and acts as that does.
    config.agent.acting = "q"
    point_mass.constant_epsilon(config)
    config.training.dataset = "datasets/point_mass.npz"
    config.training.offline_updates = 100_000  # [C]
    config.evaluation.episodes = 50
    config.evaluation.num_envs = 50
    if times != "0":
        _inject(config, int(times))
    return config.lock()


def _inject(config: Any, times: int) -> None:
    config.network.q.injection.times = times
    config.network.q.injection.scope = "network"
    config.optimizer.q.name = "adam_ages"
    config.interventions = ({"module": "injection", "at_frames": _INJECTED_AT[:times]},)

"""IQL on CartPole: from recorded steps first, then by playing.

    python -m scripts.collect --config=configs/cartpole.py --steps=20_000 \
        --output=datasets/cartpole.npz
    python -m scripts.train --config=configs/cartpole_iql.py

The steps are those of uniform actions, unless scripts.collect is given a run whose agent plays.
"""

from typing import Any

from configs import cartpole, modifiers, rainbow
from networks.torsos import mlp


def get_config(environment_id: str = "CartPole-v1") -> Any:
    """The config; `environment_id` is any gymnasium id with discrete actions and vectors."""
    config = rainbow.make("gymnasium_vector", "iql", "uniform")
    config = cartpole.short(modifiers.named(config, "cartpole_iql"))
    config.environment.id = environment_id
    config.transition.n_step = 1
    config.replay.capacity = 60_000
    for name in ("q", "value", "policy"):
        modifiers.with_torso(config, mlp.Settings(hidden_sizes=(64,)), network=name)
        modifiers.with_plain_head(config, network=name)
        config.network[name].head.hidden_size = 64
        config.optimizer[name].learning_rate = 3e-4
    config.agent.epsilon.begin = 0.3
    config.agent.epsilon.end = 0.3
    config.agent.epsilon.evaluation = 0.0
    config.training.dataset = "datasets/cartpole.npz"
    config.training.offline_updates = 20_000
    return config.lock()

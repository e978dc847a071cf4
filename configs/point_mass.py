"""The agent that explores PointmassHard for the data that implicit Q-learning begins with.

    python -m scripts.collect --config=configs/point_mass.py --explore --steps=10_000 \
        --output=datasets/point_mass.npz

Source [C]: Berkeley's CS285, fall 2023, homework 5: Double DQN on novelty. Without --explore the
actions are uniform; as an agent of scripts.train it learns from the environment's rewards.
"""

from typing import Any

from configs import cartpole, modifiers, rainbow
from networks.torsos import mlp


def get_config(map_name: str = "hard") -> Any:
    """The config; `map_name` is hard or easy."""
    config = make("double_q", map_name)
    modifiers.named(config, "point_mass")
    modifiers.with_torso(config, mlp.Settings(hidden_sizes=(64,)))  # [C]
    modifiers.with_plain_head(config)
    config.network.head.hidden_size = 64  # [C]
    config.agent.loss = "squared"  # [C]
    constant_epsilon(config)
    like_torch(config.optimizer, 1e-3)  # [C]
    return config.lock()


def make(agent: str, map_name: str) -> Any:
    """What explorer and IQL have in common, with an agent of the project."""
    config = cartpole.short(rainbow.make("point_mass", agent, "uniform"))
    config.environment.map = map_name
    config.num_envs = 1
    config.num_frames = 100_000  # [C]
    config.transition.n_step = 1  # [C]
    config.transition.discount = 0.95  # [C]
    config.replay.capacity = 110_000
    config.replay.batch_size = 128  # [C]
    config.replay.min_size = 500
    config.training.update_period_frames = 1  # [C]
    config.training.steps_per_call = 500
    config.training.target_update_period_frames = 300  # [C]
    return config


def constant_epsilon(config: Any) -> None:
    """[C]'s 0.3 while playing, none in evaluations."""
    config.agent.epsilon.begin = 0.3
    config.agent.epsilon.end = 0.3
    config.agent.epsilon.evaluation = 0.0


def like_torch(optimizer: Any, learning_rate: float) -> None:
    """[C]'s Adam, which is PyTorch's by its defaults, without clipping."""
    optimizer.learning_rate = learning_rate
    optimizer.kwargs.eps = 1e-8
    optimizer.max_gradient_norm = 0.0

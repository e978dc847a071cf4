"""DQN on one Atari game, with the hyperparameters of DQN Zoo.

    python -m scripts.train --config=configs/dqn.py:breakout

Shows: what Rainbow's parts add to, and the shortest agent to read and to copy (agents/dqn.py).
Source [Z]: google-deepmind/dqn_zoo, dqn_zoo/dqn/run_atari.py at 45061f4b. Not run at full length
here.
"""

from typing import Any

from configs import modifiers, rainbow


def get_config(game: str = "pong") -> Any:
    """The config; `game` is a ROM's name, such as ms_pacman."""
    config = with_rmsprop(make("dqn", "uniform", game), 2.5e-4)
    return config.lock()


def make(agent: str, replay: str, game: str) -> Any:
    """What [Z]'s agents without dueling and noise have in common, with modules of the project."""
    config = rainbow.make("atari", agent, replay)
    config.environment.game = game
    config.transition.n_step = 1  # [Z]
    modifiers.with_plain_head(config)
    config.replay.min_size = 50_000  # [Z] 0.05 of the capacity
    config.training.target_update_period_frames = 40_000  # [Z]
    return config


def with_rmsprop(config: Any, learning_rate: float, eps: float = 0.01 / 32**2) -> Any:
    """[Z]'s centred RMSProp, without clipping of the whole gradient."""
    with config.unlocked():
        config.optimizer.kwargs = {"decay": 0.95, "eps": eps, "centered": True}
    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = learning_rate
    config.optimizer.max_gradient_norm = 0.0
    return config


def with_adam(config: Any, learning_rate: float) -> Any:
    """[Z]'s Adam of the agents that learn distributions, with their lower epsilons."""
    config.optimizer.learning_rate = learning_rate
    config.optimizer.kwargs.eps = 0.01 / 32
    return with_epsilons(config, 0.01, 0.001)


def with_epsilons(config: Any, end: float, evaluation: float) -> Any:
    """Shares of uniform actions after the decay, and in evaluations."""
    config.agent.epsilon.end = end
    config.agent.epsilon.evaluation = evaluation
    return config

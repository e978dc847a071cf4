"""A stream of classification tasks that measures the loss of plasticity in minutes on a CPU.

    python -m scripts.train --config=configs/classification_stream.py
    python -m scripts.train --config=configs/classification_stream.py:rainbow:nap

The argument is an agent and an arm of configs/streams.py. Every task
permutes pixels and classes of the same images anew (envs/classification_mdp.py); the replay is
cleared. What to look at is `greedy_reward` in train.csv, the share of images that the mean network
would have classified rightly, just before it learned from what it saw: one row a task.

After Lyle et al. 2023 (arXiv 2303.01486); the protocol is this project's.
"""

from typing import Any

from configs import streams

# By agent: updates of a task, tasks.
_LENGTHS = {
    "c51": (1_000, 40),
    "rainbow": (2_000, 30),
    "mse": (1_000, 30),
    "qrdqn": (1_000, 40),
    "iqn": (1_000, 40),
}


def get_config(argument: str = "c51:plain") -> Any:
    """The config; `argument` is an agent and an arm.

    Raises:
      ConfigError: for another agent or arm.
    """
    agent, arm = streams.choose(argument)
    config = streams.make(agent, width=64)
    streams.named(config, "classification", agent, arm)
    updates, num_tasks = _LENGTHS[agent]
    streams.with_tasks(config, num_tasks, updates * streams.NUM_ENVS, streams.NUM_ENVS)
    config.transition.n_step = 1
    config.transition.discount = 0.99 if agent == "mse" else 0.9
    # Behaviour is uniform, but for agents without an epsilon: what is seen does not depend on what
    # was learned.
    streams.with_returns(config, v_max=10.0, epsilon=1.0)
    streams.ARMS[arm](config)
    return config.lock()

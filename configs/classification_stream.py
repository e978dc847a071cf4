"""A stream of classification tasks, in which plasticity is lost within minutes on a CPU.

    python -m scripts.train --config=configs/classification_stream.py
    python -m scripts.train --config=configs/classification_stream.py:rainbow:nap

The argument is an agent, `c51`, `rainbow` or `mse`, and one of ARMS. Every task permutes pixels and
classes of the same images anew (envs/classification_mdp.py); the replay is cleared. What to look
at is `greedy_reward` in train.csv, the share of images that the mean network would have classified
rightly, just before it learned from what it saw: one row a task.

After Lyle et al. 2023 (arXiv 2303.01486); the protocol is this project's.
"""

from collections.abc import Callable
from typing import Any

from configs import modifiers, rainbow
from networks.torsos import mlp

_ENVS = 8
# By agent: its module, updates of a task, tasks.
_AGENTS = {
    "c51": ("c51", 1_000, 40),
    "rainbow": ("rainbow", 2_000, 30),
    "mse": ("prioritized", 1_000, 30),
}
_WIDTH = 64


def get_config(argument: str = "c51:plain") -> Any:
    """The config; `argument` is an agent and an arm.

    Raises:
      ConfigError: for another agent or arm.
    """
    agent, _, arm = argument.partition(":")
    modifiers.check_choice("agent", agent, tuple(_AGENTS))
    modifiers.check_choice("arm", arm or "plain", tuple(ARMS))
    module, updates, num_tasks = _AGENTS[agent]
    config = rainbow.make("task_stream", module, "prioritized")
    is_default = (agent, arm or "plain") == ("c51", "plain")
    modifiers.named(
        config, "classification_stream" if is_default else f"classification_{agent}_{arm}"
    )
    _shorten(config, updates, num_tasks)
    modifiers.with_torso(config, mlp.Settings(hidden_sizes=(_WIDTH,)))
    config.network.head.hidden_size = _WIDTH
    if agent == "rainbow":
        config.agent.evaluation_epsilon = 0.0
    else:
        modifiers.with_plain_head(config)
        # Behaviour is uniform: what is seen does not depend on what was learned.
        config.agent.epsilon.begin = config.agent.epsilon.end = 1.0
        config.agent.epsilon.evaluation = 0.0
    if agent == "c51":
        config.agent.double = True
    if agent == "mse":
        config.agent.loss = "squared"
        config.transition.discount = 0.99
    config.optimizer.learning_rate = 1e-3
    config.optimizer.kwargs.eps = 1e-8
    ARMS[arm or "plain"](config)
    return config.lock()


def _shorten(config: Any, updates: int, num_tasks: int) -> None:
    """So many tasks with so many updates each, all in compiled loops."""
    frames = _ENVS * updates
    config.environment.num_tasks = num_tasks
    config.environment.frames_per_task = frames
    config.num_envs = _ENVS
    config.num_frames = num_tasks * frames
    config.transition.frame_stack = 0
    config.transition.n_step = 1
    config.transition.discount = 0.9
    if "v_max" in config.agent:
        config.agent.v_max = 10.0
    config.replay.capacity = frames
    config.replay.min_size = 10 * _ENVS
    # Constant, or their drift would be one of the outcome.
    config.replay.importance_exponent_end = config.replay.importance_exponent
    config.task_switch.clear_replay = True
    config.training.update_period_frames = _ENVS
    config.training.target_update_period_frames = 200 * _ENVS
    config.training.steps_per_call = 500
    config.evaluation.period_frames = 0
    config.log.period_frames = frames
    config.log.layers_period_frames = frames
    config.log.units_period_frames = frames
    config.log.tensorboard = False
    config.snapshot.period_frames = 10 * frames


def _with_rewarming(config: Any) -> Any:
    """NaP, and in every task a warm-up and half a cosine wave."""
    modifiers.with_nap(config)
    rate = config.optimizer.learning_rate
    return modifiers.with_warmup_per_task(
        config, rate, warmup_frames=config.environment.frames_per_task // 10
    )


def _with_l2_init(config: Any) -> Any:
    config.interventions = ({"module": "towards_initial", "strength": 1e-4},)
    return config


def _with_redo(config: Any) -> Any:
    config.optimizer.name = "adam_ages"
    config.interventions = ({"module": "redo", "period_frames": 1_000 * _ENVS},)
    return config


ARMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda config: config,
    "ln": modifiers.with_layer_norm,
    "nap": modifiers.with_nap,
    "nap_schedule": _with_rewarming,
    "l2_init": _with_l2_init,
    "redo": _with_redo,
    "reset": modifiers.with_resets,
}

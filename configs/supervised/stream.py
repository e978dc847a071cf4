"""What the experiments of configs/supervised have in common: a classifier in a stream of tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

from configs import modifiers, rainbow, streams
from core import settings
from envs import labelled_images
from networks.torsos import mlp


def make(
    name: str, hidden_sizes: Sequence[int], batch_size: int, num_tasks: int, updates: int
) -> Any:
    """A perceptron that learns anew in every task; not locked.

    Args:
      name: of the config.
      hidden_sizes: widths of all hidden layers, two at least.
      batch_size: examples of an update.
      num_tasks: how many.
      updates: of a task, and batches drawn in it; the first two come late, on later batches.
    """
    config = rainbow.make("task_stream", "classifier", "newest")
    modifiers.named(config, name)
    *torso, last = hidden_sizes
    modifiers.with_torso(config, mlp.Settings(hidden_sizes=tuple(torso)))
    modifiers.with_plain_head(config)
    config.network.head.hidden_size = last
    with config.unlocked():
        config.environment.each = settings.to_config(labelled_images.Settings())
    config.num_envs = batch_size
    frames = updates * batch_size
    streams.with_tasks(config, num_tasks, frames, batch_size)
    _as_labels(config.transition)
    config.replay.batch_size = batch_size
    config.replay.min_size = 2 * batch_size  # a label comes a step after its image
    # What measurements draw from.
    config.replay.capacity = max(64 * batch_size, 1_024)
    config.task_switch.clear_replay = True
    config.optimizer.learning_rate = 1e-3
    config.optimizer.kwargs.eps = 1e-8
    config.optimizer.max_gradient_norm = 0.0
    # There is no bootstrapping: the copy is for those interventions that ask for one.
    config.training.target_update_period_frames = frames
    config.training.steps_per_call = 500
    config.evaluation.period_frames = 0
    config.log.tensorboard = False
    config.log.probe_size = 512
    # Ten rows a task: the last is about its end.
    config.log.period_frames = frames // 10
    return config


def _as_labels(transition: Any) -> None:
    """A reward is a label: as it is, and alone."""
    transition.frame_stack = 0
    transition.n_step = 1
    transition.discount = 0.0
    transition.max_abs_reward = 0.0


def with_method(config: Any, *items: Mapping[str, Any]) -> Any:
    """The config with interventions."""
    config.interventions = tuple(dict(item) for item in items)
    return config

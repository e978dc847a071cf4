"""Random labels of the same images, drawn anew in every task: what is fitted must be unlearned.

    python -m scripts.train --config=configs/supervised/random_labels.py:nap

The argument is plain, ln or nap. After the fourth figure of Lyle et al. 2024, which fits CIFAR-10
with Adam for 20 million updates and 200 draws; ours, as its sizes are not told: 1,200 windows of
photographs in CIFAR-10's shape (environment.each.data = "cifar10" has the original, if its files
are there), a perceptron of 3 x 128, batches of 16, 50 tasks of 4,000 updates. A rate of 1e-4 is
told; ours is 3e-4, as there are a hundredth of the updates (with 1e-3 a plain network stops
learning within three tasks). The loss is cross-entropy, `accuracy` the share of a batch that was
right before the update on it.
"""

from typing import Any

from configs import modifiers, streams
from configs.supervised import stream

_ARMS = ("plain", "ln", "nap")


def get_config(arm: str = "plain") -> Any:
    """The config; `arm` is plain, ln or nap.

    Raises:
      ConfigError: for another arm.
    """
    name = "random_labels" if arm == "plain" else f"random_labels_{arm}"
    config = stream.make(name, (128, 128, 128), batch_size=16, num_tasks=50, updates=4_000)
    config.environment.each.data = "patches"
    config.optimizer.learning_rate = 3e-4
    config.log.network_period_frames = config.environment.frames_per_task
    return with_arm(config, arm).lock()


def with_arm(config: Any, arm: str) -> Any:
    """The config changed to an arm.

    Raises:
      ConfigError: for another one.
    """
    modifiers.check_choice("arm", arm, _ARMS)
    return streams.ARMS[arm](config)

"""Pixels permuted anew in every task, with the images' own labels.

    python -m scripts.train --config=configs/supervised/permuted_pixels.py:nap

The argument is plain, ln or nap. After Goodfellow et al. 2013, as Dohare et al. 2024 have it:
batches of one example. Ours: 5,000 images, a perceptron of 300 and 150, 200 tasks of 5,000 updates.
"""

from typing import Any

from configs.supervised import random_labels, stream


def get_config(arm: str = "plain") -> Any:
    """The config; `arm` is one of random_labels'.

    Raises:
      ConfigError: for another arm.
    """
    name = "permuted_pixels" if arm == "plain" else f"permuted_pixels_{arm}"
    config = stream.make(name, (300, 150), batch_size=1, num_tasks=200, updates=5_000)
    config.environment.each.labels = "own"
    config.environment.each.images = 5_000
    config.environment.each.permuted_pixels = True
    return random_labels.with_arm(config, arm).lock()

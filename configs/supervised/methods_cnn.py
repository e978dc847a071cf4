"""Methods against the loss of plasticity, without and with NaP, in a convolutional network.

    python -m scripts.train --config=configs/supervised/methods_cnn.py:redo:nap

The argument is that of methods.py. After the eighth figure of Lyle et al. 2024, which has such
networks too; sizes and data are ours: 1,200 of scikit-learn's digits, 8 x 8, whose random labels
are drawn anew in each of 15 tasks of 2,000 updates on batches of 16.
"""

from typing import Any

from configs import modifiers
from configs.supervised import methods, stream
from networks.torsos import cnn


def get_config(argument: str = "none") -> Any:
    """The config; raises ConfigError for another argument."""
    name = methods.named("methods_cnn", argument)
    config = stream.make(name, (128, 128), batch_size=16, num_tasks=15, updates=2_000)
    config.environment.each.data = "digits"
    config.environment.each.form = "pictures"
    modifiers.with_torso(config, cnn.Settings(channels=(32,)))
    return methods.with_argument(config, argument).lock()

"""Units that die when labels change, and whether they come back: an optimizer and a norm.

    python -m scripts.train --config=configs/supervised/dead_units.py:adam:ln

The argument is sgd, momentum or adam, and plain, ln or rms. After the fifth figure of Lyle et al.
2024: MNIST's labels are drawn anew every 1,000 updates. Ours, as sizes and rates are not told:
5,000 images, a perceptron of 2 x 256, batches of 64, 20 tasks. `units.csv` has the shares of dead
units every 20 updates.
"""

from typing import Any

from configs import modifiers
from configs.supervised import stream

_NORMS = {"plain": "none", "ln": "layer", "rms": "rms"}
_OPTIMIZERS = {
    "adam": ("adam", {}, 1e-3),
    "momentum": ("sgd", {"momentum": 0.9}, 1e-2),
    "sgd": ("sgd", {}, 1e-1),
}


def get_config(argument: str = "adam:plain") -> Any:
    """The config; `argument` is an optimizer and a norm.

    Raises:
      ConfigError: for another one.
    """
    optimizer, _, norm = argument.partition(":")
    modifiers.check_choice("optimizer", optimizer, tuple(_OPTIMIZERS))
    modifiers.check_choice("norm", norm or "plain", tuple(_NORMS))
    norm = norm or "plain"
    is_default = (optimizer, norm) == ("adam", "plain")
    name = "dead_units" if is_default else f"dead_units_{optimizer}_{norm}"
    config = stream.make(name, (256, 256), batch_size=64, num_tasks=20, updates=1_000)
    config.environment.each.images = 5_000
    config.network.norm.kind = _NORMS[norm]
    with config.unlocked():
        config.optimizer.name, kwargs, config.optimizer.learning_rate = _OPTIMIZERS[optimizer]
        if optimizer != "adam":
            config.optimizer.kwargs = kwargs
    config.log.units_period_frames = 20 * config.num_envs
    config.training.steps_per_call = 20
    return config.lock()

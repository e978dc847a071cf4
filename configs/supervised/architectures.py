"""Networks of several kinds on digits whose pixels are permuted anew in every task.

    python -m scripts.train --config=configs/supervised/architectures.py:transformer:nap

The argument is cnn, residual (IMPALA's) or transformer, and plain, ln or nap. The NaP paper (Lyle
et al. 2024) trains residual networks and transformers with it on data that do not change; the
stream and the sizes are ours: 1,200 of scikit-learn's digits, 8 x 8, batches of 16, 15 tasks of
2,000 updates.
"""

from typing import Any

from configs import modifiers
from configs.supervised import random_labels, stream
from networks.torsos import cnn, impala, transformer

_TORSOS = {
    "cnn": cnn.Settings(channels=(32,)),
    "residual": impala.Settings(channels=(16, 32), blocks=1),
    "transformer": transformer.Settings(patch_size=2),
}


def get_config(argument: str = "cnn:plain") -> Any:
    """The config; `argument` is a kind of network and an arm of random_labels.

    Raises:
      ConfigError: for another one.
    """
    kind, _, arm = argument.partition(":")
    modifiers.check_choice("network", kind, tuple(_TORSOS))
    arm = arm or "plain"
    is_default = (kind, arm) == ("cnn", "plain")
    name = "architectures" if is_default else f"architectures_{kind}_{arm}"
    config = stream.make(name, (128, 128), batch_size=16, num_tasks=15, updates=2_000)
    config.environment.each.data = "digits"
    config.environment.each.form = "pictures"
    config.environment.each.labels = "own"
    config.environment.each.permuted_pixels = True
    modifiers.with_torso(config, _TORSOS[kind])
    return random_labels.with_arm(config, arm).lock()

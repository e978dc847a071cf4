"""Half of the units silenced: do they come back?

    python -m scripts.train --config=configs/supervised/revival.py:ln

The argument is plain, ln, rms, or ln_constant: LayerNorm through whose statistics no gradient goes.
After the NaP paper's explanation of its fifth figure (Lyle et al. 2024); the experiment is ours:
random labels of 1,200 images of MNIST, a perceptron of 2 x 256 with biases before its norms. After
1,000 updates the biases of half of the units become -10; `units.csv` has the share of dead units
every 50 of the 3,000 updates.
"""

from typing import Any

from configs import modifiers
from configs.supervised import stream

_NORMS = {"plain": "none", "ln": "layer", "rms": "rms", "ln_constant": "layer"}


def get_config(norm: str = "plain") -> Any:
    """The config; `norm` is plain, ln, rms or ln_constant.

    Raises:
      ConfigError: for another one.
    """
    modifiers.check_choice("norm", norm, tuple(_NORMS))
    name = "revival" if norm == "plain" else f"revival_{norm}"
    config = stream.make(name, (256, 256), batch_size=64, num_tasks=1, updates=3_000)
    config.network.norm.kind = _NORMS[norm]
    config.network.norm.keep_bias = True
    if norm == "ln_constant":
        config.network.norm.statistics = "constant"
    stream.with_method(config, {"module": "silence", "at_frames": 1_000 * config.num_envs})
    config.log.units_period_frames = 50 * config.num_envs
    config.training.steps_per_call = 50
    return config.lock()

"""Methods against the loss of plasticity, each without and with NaP, on random labels of MNIST.

    python -m scripts.train --config=configs/supervised/methods.py:redo:nap

The argument is a method (none, redo, l2_init, noise, leaky, shrink_and_perturb, l2) and maybe nap.
After the eighth figure of Lyle et al. 2024; data and network as Kumar et al. 2023 (L2 Init,
arXiv 2308.11958): 1,200 images, batches of 16, a perceptron of 2 x 100, Adam. 30 tasks of 5,000
updates are ours. The measure is the mean of `accuracy` over all of them.
"""

from typing import Any

from configs import modifiers
from configs.supervised import stream


def _with_redo(config: Any) -> Any:
    config.optimizer.name = "adam_ages"
    period_frames = 1_000 * config.num_envs
    return stream.with_method(config, {"module": "redo", "period_frames": period_frames})


def _with_leaky_units(config: Any) -> Any:
    config.network.activation.kind = "leaky_relu"
    return config


def _with_shrink_and_perturb(config: Any) -> Any:
    period_frames = config.environment.frames_per_task
    item = {"module": "shrink_and_perturb", "share": 0.8, "period_frames": period_frames}
    return stream.with_method(config, item)


_METHODS = {
    "none": lambda config: config,
    "redo": _with_redo,
    "l2_init": lambda config: stream.with_method(
        config, {"module": "towards_initial", "strength": 1e-3}
    ),
    "noise": lambda config: stream.with_method(
        config, {"module": "noise", "form": "relative", "scale": 0.1}
    ),
    "leaky": _with_leaky_units,
    "shrink_and_perturb": _with_shrink_and_perturb,
    "l2": lambda config: stream.with_method(config, {"module": "l2", "strength": 1e-5}),
}


def get_config(argument: str = "none") -> Any:
    """The config; `argument` is a method, maybe with :nap.

    Raises:
      ConfigError: for another method, or anything but nap after it.
    """
    name = named("methods", argument)
    config = stream.make(name, (100, 100), batch_size=16, num_tasks=30, updates=5_000)
    return with_argument(config, argument).lock()


def named(experiment: str, argument: str) -> str:
    """The experiment's own name for `none`, else one with the argument."""
    return experiment if argument == "none" else f"{experiment}_{argument.replace(':', '_')}"


def with_argument(config: Any, argument: str) -> Any:
    """The config with a method, maybe on NaP; raises ConfigError for another argument."""
    method, _, nap = argument.partition(":")
    modifiers.check_choice("method", method, tuple(_METHODS))
    modifiers.check_choice("after the method", nap, ("", "nap"))
    if nap:
        modifiers.with_nap(config)
    return _METHODS[method](config)

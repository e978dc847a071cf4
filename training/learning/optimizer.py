"""The optimizer that the section `optimizer` of a config describes, as an optax chain."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from core import checks
from plasticity import norm_growth, projection, schedules

CHECKS: Mapping[str, checks.Check] = {
    "name": checks.one_of("adam", "rmsprop", "sgd"),
    "learning_rate": checks.number(0, open_low=True),
    "b1": checks.number(0, 1),
    "b2": checks.number(0, 1),
    "epsilon": checks.number(0),
    "max_gradient_norm": checks.number(0),
    "schedule": checks.anything(),
    "projection": checks.anything(),
}


def make(config: Mapping[str, Any], frames_per_update: float) -> optax.GradientTransformation:
    """Builds clip -> optimizer at the scheduled learning rate -> projection.

    Args:
      config: the section `optimizer`.
      frames_per_update: converts a schedule's frames into updates.

    Raises:
      ConfigError: for a bad key or value here, in the schedule or in the projection.
    """
    checks.verify("optimizer", config, CHECKS)
    settings = projection.ProjectionSettings.from_config(config["projection"])
    schedule = schedules.make_schedule(
        config["schedule"], config["learning_rate"], frames_per_update
    )
    steps = [_make_scaling(config), optax.scale_by_learning_rate(schedule)]
    if config["max_gradient_norm"]:
        steps.insert(0, optax.clip_by_global_norm(config["max_gradient_norm"]))
    steps.append(schedules.make_layer_factors(config["schedule"], settings))
    return projection.project(optax.chain(*steps), settings)


def _make_scaling(config: Mapping[str, Any]) -> optax.GradientTransformation:
    if config["name"] == "adam":
        return optax.scale_by_adam(config["b1"], config["b2"], config["epsilon"])
    if config["name"] == "rmsprop":
        return optax.scale_by_rms(config["b2"], config["epsilon"])
    return optax.identity()


def reset_moments(opt_state: Any, fresh: Any) -> Any:
    """The optimizer's state with the moments, and the count of their steps, of a fresh one."""
    return _take(opt_state, fresh, (optax.ScaleByAdamState, optax.ScaleByRmsState))


def restart_schedule(opt_state: Any, fresh: Any) -> Any:
    """The optimizer's state with the learning-rate schedule at its beginning, as in a fresh one."""
    return _take(opt_state, fresh, (optax.ScaleByScheduleState, norm_growth.NormGrowthState))


def reset_projection(opt_state: Any, fresh: Any) -> Any:
    """The optimizer's state with the spheres of a fresh one: its own parameters' radii."""
    return _take(opt_state, fresh, (projection.ProjectionState,))


def _take(opt_state: Any, fresh: Any, kinds: tuple[type, ...]) -> Any:
    is_chosen = lambda part: isinstance(part, kinds)  # noqa: E731
    return jax.tree.map(
        lambda old, new: new if is_chosen(old) else old, opt_state, fresh, is_leaf=is_chosen
    )

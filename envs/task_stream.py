"""Tasks of one environment one after the other, each with another number in its key `task`.

For environments of pure functions, such as classification_mdp and cartpole: they go to the next
task without being built anew. After the last task the first comes again.
"""

import dataclasses
import functools
from types import ModuleType
from typing import Any

from core import checks, plugins, settings
from envs import base
from envs.functional import vector

FRAMES_PER_TASK = "frames_per_task"
IS_FUNCTIONAL = True
frames_per_step = vector.frames_per_step


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment` of a stream of tasks."""

    module: str = settings.key("task_stream", checks.one_of("task_stream"), "this environment")
    each: Any = settings.plugin("envs", "classification_mdp", own_name="environment")
    num_tasks: int = settings.key(
        30, checks.integer(1), "from 0 on, after which the first comes again", "ours"
    )
    frames_per_task: int = settings.key(
        16_000, checks.integer(1), "of one seed in each, over all its environments", "ours"
    )

    def __post_init__(self):
        """Raises ConfigError for an environment that has no tasks, or a task of its own."""
        is_one_of_tasks = hasattr(_module(self), "parameters_of") and hasattr(self.each, "task")
        if not is_one_of_tasks:
            raise checks.ConfigError(
                f"environment.each.module = {self.each.module!r}: expected an environment of pure "
                "functions with a key task"
            )
        if self.each.task:
            raise checks.ConfigError(
                f"environment.each.task = {self.each.task}: expected 0, as all tasks are played"
            )


def make(chosen: Settings, num_envs: int, seed: int) -> vector.FunctionalVector:
    """Builds the stream at its first task; see `envs.base.make`."""
    module = _module(chosen)
    with checks.renamed("environment", "environment.each"):
        return vector.FunctionalVector(
            task_name(chosen),
            chosen,
            module.dynamics(chosen.each),
            lambda number: module.parameters_of(_of_task(chosen, number % chosen.num_tasks)),
            num_envs,
            seed,
            is_sequence=True,
        )


def task_name(chosen: Settings) -> str:
    """How many tasks of what, of how many frames."""
    return f"{chosen.num_tasks}_tasks_{chosen.each.module}_of_{chosen.frames_per_task}_frames"


def tasks(chosen: Settings) -> tuple[base.Settings, ...]:
    """The settings of each task alone."""
    return tuple(_of_task(chosen, number) for number in range(chosen.num_tasks))


@functools.cache
def _of_task(chosen: Settings, number: int) -> base.Settings:
    return dataclasses.replace(chosen.each, task=number)


def _module(chosen: Settings) -> ModuleType:
    return plugins.find("envs", chosen.each.module, "environment.each.module")

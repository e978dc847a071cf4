"""Any environments one after the other: gymnasium ids, probes, games with their own settings.

They must have the same observations and actions. As it takes a list of sections, it is chosen in a
config file rather than on the command line.
"""

import dataclasses
import functools
from typing import Any

from core import checks, settings
from envs import base, task_sequence

_PROBES = ({"module": "probes", "probe": 4}, {"module": "probes", "probe": 5})

FRAMES_PER_TASK = "frames_per_environment"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment` of a sequence of any environments."""

    module: str = settings.key(
        "environment_sequence", checks.one_of("environment_sequence"), "this environment"
    )
    environments: tuple[Any, ...] = settings.key(
        _PROBES,
        checks.each(checks.section()),
        "a section `environment` for each, in their order; keys left out have their defaults",
    )
    frames_per_environment: int = settings.key(
        10_000, checks.integer(1), "frames of one seed in each, over all its environments"
    )

    def __post_init__(self):
        """Raises ConfigError for a bad section, a sequence, or the same one twice in a row.

        Two of one name may follow each other if their other keys differ.
        """
        for i, task in enumerate(self.tasks):
            if base.is_sequence(task):
                raise checks.ConfigError(
                    f"environment.environments[{i}].module = {task.module!r}: expected a single "
                    "environment, no sequence"
                )
        task_sequence.check_order(self.tasks, "environment.environments", base.task_name)

    @functools.cached_property
    def tasks(self) -> tuple[base.Settings, ...]:
        """The parsed sections."""
        return tuple(
            base.parse_listed(section, f"environment.environments[{i}]")
            for i, section in enumerate(self.environments)
        )


def make(chosen: Settings, num_envs: int, seed: int) -> task_sequence.TaskSequence:
    """Builds the sequence at its first environment.

    Raises:
      ConfigError: if they differ in observations, actions or frames per step.
    """
    task_sequence.check_specs(chosen.tasks, "environment.environments")
    return task_sequence.TaskSequence(chosen.tasks, num_envs, seed)


def frames_per_step(chosen: Settings) -> int:
    """Of each environment."""
    return base.frames_per_step(chosen.tasks[0])


def task_name(chosen: Settings) -> str:
    """How many environments, of how many frames."""
    return f"{len(chosen.tasks)}_environments_of_{chosen.frames_per_environment}_frames"


def tasks(chosen: Settings) -> tuple[base.Settings, ...]:
    """The settings of each environment alone."""
    return chosen.tasks

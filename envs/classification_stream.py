"""Tasks of classification_mdp one after the other: the same images, permuted anew in each."""

import dataclasses

from core import checks, settings
from envs import classification_mdp
from envs.functional import vector

FRAMES_PER_TASK = "frames_per_task"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment`; see envs/classification_mdp.py for keys of the same name."""

    module: str = settings.key(
        "classification_stream", checks.one_of("classification_stream"), "this environment"
    )
    stream: str = settings.key("pixel", checks.one_of("pixel", "label"), "of each task")
    num_tasks: int = settings.key(
        30, checks.integer(1), "after which the first comes again", "ours"
    )
    frames_per_task: int = settings.key(
        16_000, checks.integer(1), "of one seed in each, over all its environments", "ours"
    )
    images: int = settings.key(1_200, checks.integer(10, 5_000), "of each task", "ours")
    episode_steps: int = settings.key(100, checks.integer(1), "until an episode is cut", "ours")


def make(chosen: Settings, num_envs: int, seed: int) -> vector.FunctionalVector:
    """Builds the stream at its first task; see `envs.base.make`."""
    of_task = tasks(chosen)
    name = f"{chosen.stream}_of_{chosen.num_tasks}"
    return vector.FunctionalVector(
        name,
        classification_mdp.dynamics(),
        lambda task: classification_mdp.parameters_of(of_task[0], task % chosen.num_tasks),
        num_envs,
        seed,
        is_sequence=True,
    )


def frames_per_step(chosen: Settings) -> int:
    """1: there is no emulator."""
    del chosen
    return vector.FunctionalVector.frames_per_step


def task_name(chosen: Settings) -> str:
    """Stream, number and length of the tasks."""
    return f"{chosen.stream}_{chosen.num_tasks}_tasks_of_{chosen.frames_per_task}_frames"


def tasks(chosen: Settings) -> tuple[classification_mdp.Settings, ...]:
    """The settings of each task alone."""
    return tuple(
        classification_mdp.Settings(
            stream=chosen.stream,
            task=task,
            images=chosen.images,
            episode_steps=chosen.episode_steps,
        )
        for task in range(chosen.num_tasks)
    )

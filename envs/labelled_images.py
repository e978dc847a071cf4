"""Labelled images to be learned as they come, as an environment: supervised learning in a stream.

An observation is an image, drawn from all that there are; the reward of the next step is its label,
whatever the action was (agents/classifier.py learns from it). Episodes have no end. In a
task_stream every task has new labels or new pixels, which depend on `task` alone: all runs meet
the same. Sources: random labels of Zhang et al. 2017, as used by Lyle et al. 2024 and Kumar et al.
2023 (L2 Init); permuted pixels of Goodfellow et al. 2013.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from core import checks, settings
from envs import image_data
from envs.functional import contract, vector

_CLASSES = 10
# Apart from the seeds of runs.
_TASK_SEED = 20_240_701

IS_FUNCTIONAL = True
REWARDS_ARE = "labels"
frames_per_step = vector.frames_per_step


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment`."""

    module: str = settings.key(
        "labelled_images", checks.one_of("labelled_images"), "this environment"
    )
    data: str = settings.key(
        "mnist_5k",
        checks.one_of(*image_data.SOURCES),
        "5,000 images of MNIST; scikit-learn's digits; windows of 32 x 32 pixels of its two "
        "photographs, which have no labels of their own; or MNIST's or CIFAR-10's files",
    )
    directory: str = settings.key(
        "",
        checks.Check("a path, or '' for none", lambda v: isinstance(v, str)),
        "where the files of mnist or cifar10 are",
    )
    images: int = settings.key(
        1_200, checks.integer(10), "how many of them, in a fixed random order"
    )
    form: str = settings.key(
        "vectors",
        checks.one_of("vectors", "pictures"),
        "of an observation: vectors, standardized; or pictures uint8 [channels, height, width], "
        "for convolutions",
    )
    labels: str = settings.key(
        "random",
        checks.one_of("random", "own"),
        "random: drawn for each image, anew in each task; own: as they are",
    )
    tasks_per_relabelling: int = settings.key(
        1,
        checks.integer(1),
        "over how many tasks all images get a new random label each, as many in every task; 1: "
        "all of them in every task",
        "1: Lyle et al. 2024",
    )
    permuted_pixels: bool = settings.key(
        False, checks.boolean(), "whether tasks other than 0 permute the pixels"
    )
    growth: int = settings.key(
        0, checks.integer(0), "images that each task adds to those before; 0: all from the start"
    )
    held_out: int = settings.key(
        0, checks.integer(0), "images, the last ones, that the task `held_out_task` alone draws"
    )
    held_out_task: int = settings.key(
        1, checks.integer(1), "the task that draws what is held out, and nothing else"
    )
    episode_steps: int = settings.key(
        0, checks.integer(0), "until an episode is cut, after which a step has no label; 0: never"
    )
    task: int = settings.key(0, contract.TASK, "which labels, permutation and number")

    def __post_init__(self):
        """Raises ConfigError for labels that the data has not, or if all images are held out."""
        if self.held_out >= self.images:
            raise checks.ConfigError(
                f"environment.held_out = {self.held_out}: expected fewer than images, which is "
                f"{self.images}"
            )
        if self.data == "patches" and self.labels == "own":
            raise checks.ConfigError(
                "environment.labels = 'own': expected 'random', as data = 'patches' has none"
            )


def make(chosen: Settings, num_envs: int, seed: int) -> vector.FunctionalVector:
    """Builds the environment; see `envs.base.make`."""
    return vector.single(task_name, dynamics, parameters_of, chosen, num_envs, seed)


def task_name(chosen: Settings) -> str:
    """Data and task."""
    return f"{chosen.data}_{chosen.task}"


def dynamics(chosen: Settings) -> contract.Dynamics:
    """Of every task; see `parameters_of`."""
    images, _ = _load(chosen.data, chosen.directory, chosen.images, chosen.form)
    return contract.Dynamics(
        observation_spec=specs.Array(images.shape[1:], images.dtype, name="observation"),
        num_actions=_CLASSES,
        begin=_begin,
        step=_step,
        observe=lambda parameters, state: parameters["images"][state["image"]],
    )


def parameters_of(chosen: Settings) -> dict[str, Any]:
    """Of a task: `images` [M, D] or [M, C, H, W], `labels` [M]; `first` and `available`, from which
    on and how many are drawn; `episode_steps`, an episode's length.
    """
    images, labels = _load(chosen.data, chosen.directory, chosen.images, chosen.form)
    random = np.random.RandomState([_TASK_SEED, chosen.task])
    if chosen.labels == "random":
        labels = _random_labels(chosen.task, chosen.tasks_per_relabelling, len(images))
    if chosen.permuted_pixels and chosen.task:
        flat = images.reshape(len(images), -1)
        images = flat[:, random.permutation(flat.shape[1])].reshape(images.shape)
    first, available = 0, len(images) - chosen.held_out
    if chosen.growth:
        available = min(chosen.growth * (chosen.task + 1), available)
    if chosen.held_out and chosen.task == chosen.held_out_task:
        first, available = len(images) - chosen.held_out, chosen.held_out
    return {
        "images": jnp.asarray(images),
        "labels": jnp.asarray(labels, jnp.int32),
        "first": jnp.int32(first),
        "available": jnp.int32(available),
        "episode_steps": jnp.int32(chosen.episode_steps),
    }


@functools.cache
def _load(data: str, directory: str, number: int, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, the first in a fixed random order, and their labels.

    Vectors have mean 0 and variance 1 over all.
    """
    images, labels = image_data.load(data, directory)
    if number > len(images):
        raise checks.ConfigError(
            f"environment.images = {number}: expected at most {len(images)}, which {data} has"
        )
    if labels.max() >= _CLASSES:
        raise checks.ConfigError(
            f"environment.data = {data!r}: has the label {labels.max()}: expected 0 to "
            f"{_CLASSES - 1}"
        )
    # In an order of their own: files may be sorted by class.
    order = np.random.RandomState(_TASK_SEED).permutation(len(images))[:number]
    images, labels = images[order], labels[order]
    if form == "vectors":
        return image_data.standardized(images.reshape(number, -1)), labels
    return image_data.pictures(images), labels


def _random_labels(task: int, tasks_per_drawing: int, number: int) -> np.ndarray:
    """Labels [number] of which each task after the first has replaced some by those of a new draw.

    A draw replaces all of the one before, over so many tasks, in an order of its own.
    """
    # The draw that is coming in, and how many tasks ago it began, this one included.
    draw = -(-task // tasks_per_drawing)
    begun = task - (draw - 1) * tasks_per_drawing if task else tasks_per_drawing
    random = np.random.RandomState([_TASK_SEED, draw])
    labels = random.randint(_CLASSES, size=number)
    kept = random.permutation(number)[round(number * begun / tasks_per_drawing) :]
    if len(kept):
        before = np.random.RandomState([_TASK_SEED, draw - 1])
        labels[kept] = before.randint(_CLASSES, size=number)[kept]
    return labels


def _begin(parameters: Any, rng: jax.Array) -> dict[str, jax.Array]:
    image = jax.random.randint(rng, (), 0, parameters["available"])
    return {"image": parameters["first"] + image, "steps": jnp.zeros((), jnp.int32)}


def _step(parameters: Any, state: Any, action: jax.Array, rng: jax.Array) -> contract.Stepped:
    del action
    steps = state["steps"] + 1
    return contract.Stepped(
        state={**_begin(parameters, rng), "steps": steps},
        reward=parameters["labels"][state["image"]].astype(jnp.float32),
        is_terminal=jnp.zeros((), bool),
        is_truncated=steps == parameters["episode_steps"],
    )

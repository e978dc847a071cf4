"""Images to be classified, as an environment (Lyle et al. 2023, arXiv 2303.01486, reimplemented).

An observation is an image, an action a class, the reward 1 for the right one and 0 else, and the
next image is drawn whatever was answered: the values of all actions are nearly the same large
number, and only the differences matter. There is no end; after `episode_steps` an episode is cut,
from which learning goes on as if nothing had happened.

Task 0 has the images and classes as they are. In another they are permuted, by `stream`: `label`:
what action belongs to a class; `pixel`: this, and the pixels, so that nothing carries over.
The permutations depend on `task` alone: all runs meet the same.
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
_SIZE = 14
# Apart from the seeds of runs.
_TASK_SEED = 20_230_301


IS_FUNCTIONAL = True
frames_per_step = vector.frames_per_step


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment`."""

    module: str = settings.key(
        "classification_mdp", checks.one_of("classification_mdp"), "this environment"
    )
    stream: str = settings.key(
        "pixel", checks.one_of("pixel", "label"), "what is permuted in tasks other than 0"
    )
    task: int = settings.key(0, contract.TASK, "which permutation")
    images: int = settings.key(
        1_200,
        checks.Check(
            "a multiple of 10 up to 5000",
            lambda v: checks.integer(10, 5_000).accepts(v) and v % _CLASSES == 0,
        ),
        "of MNIST's, as many of each class",
        "ours",
    )
    episode_steps: int = settings.key(100, checks.integer(1), "until an episode is cut", "ours")


def make(chosen: Settings, num_envs: int, seed: int) -> vector.FunctionalVector:
    """Builds the environment; see `envs.base.make`."""
    return vector.single(task_name, dynamics, parameters_of, chosen, num_envs, seed)


def task_name(chosen: Settings) -> str:
    """Stream and task."""
    return f"{chosen.stream}_{chosen.task}"


def dynamics(chosen: Settings) -> contract.Dynamics:
    """Of every task; see `parameters_of`."""
    del chosen
    return contract.Dynamics(
        observation_spec=specs.Array((_SIZE * _SIZE,), np.float32, name="observation"),
        num_actions=_CLASSES,
        begin=_begin,
        step=_step,
        observe=lambda parameters, state: parameters["images"][state["image"]],
        expected_reward=_reward,
    )


def parameters_of(chosen: Settings) -> dict[str, Any]:
    """Images [M, 196], the right action for each [M], and the length of an episode."""
    images, labels = _standardized(chosen.images)
    if chosen.task:
        random = np.random.RandomState([_TASK_SEED, chosen.task])
        labels = random.permutation(_CLASSES)[labels]
        if chosen.stream == "pixel":
            images = images[:, random.permutation(images.shape[1])]
    return {
        "images": jnp.asarray(images),
        "actions": jnp.asarray(labels, jnp.int32),
        "episode_steps": jnp.int32(chosen.episode_steps),
    }


@functools.cache
def _standardized(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images of each class, pooled to 14 x 14, with mean 0 and variance 1 over all."""
    images, labels = image_data.load_mnist()
    chosen = np.concatenate(
        [np.flatnonzero(labels == k)[: number // _CLASSES] for k in range(_CLASSES)]
    )
    pooled = images[chosen].reshape(-1, _SIZE, 2, _SIZE, 2).mean((2, 4)).reshape(-1, _SIZE * _SIZE)
    return image_data.standardized(pooled), labels[chosen]


def _begin(parameters: Any, rng: jax.Array) -> dict[str, jax.Array]:
    image = jax.random.randint(rng, (), 0, parameters["actions"].shape[0])
    return {"image": image, "steps": jnp.zeros((), jnp.int32)}


def _step(parameters: Any, state: Any, action: jax.Array, rng: jax.Array) -> contract.Stepped:
    steps = state["steps"] + 1
    return contract.Stepped(
        state={**_begin(parameters, rng), "steps": steps},
        reward=_reward(parameters, state, action),
        is_terminal=jnp.zeros((), bool),
        is_truncated=steps >= parameters["episode_steps"],
    )


def _reward(parameters: Any, state: Any, action: jax.Array) -> jax.Array:
    return (action == parameters["actions"][state["image"]]).astype(jnp.float32)

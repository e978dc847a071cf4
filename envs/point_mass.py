"""A point that is pushed through rooms towards a goal: PointmassHard.

Berkeley's CS285, fall 2023, homework 5, where implicit Q-learning goes from offline data to
playing. An action moves the point by one along an axis, with noise of N(0, 0.5^2) on both axes, in
ten parts; a part that would lead into a wall or outside is not made, axis by axis. The reward is -1
a step and 0 in the goal, within a distance of 2, where the episode ends; it is cut after 100 steps.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from core import checks, settings
from envs.functional import contract, vector

# Sutton, Precup & Singh 1999: four rooms of 11 x 11, with a door in each wall.
_FOUR_ROOMS = """
.....#.....
.....#.....
...........
.....#.....
.....#.....
#.####.....
.....###.##
.....#.....
.....#.....
...........
.....#.....
"""
_MAPS = {"hard": _FOUR_ROOMS, "easy": "\n".join(["." * 5] * 5)}
# Each place of a map is as many units wide.
_SCALE = 2

_MOVES = np.array([[0, 0], [0, 1], [0, -1], [1, 0], [-1, 0]], np.float32)
_NOISE = 0.5
_NUM_PARTS = 10
_START = 2.0
_GOAL_DISTANCE = 2.0


IS_FUNCTIONAL = True
frames_per_step = vector.frames_per_step


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment`."""

    module: str = settings.key("point_mass", checks.one_of("point_mass"), "this environment")
    map: str = settings.key(
        "hard", checks.one_of(*_MAPS), "hard: four rooms of 22 x 22 in all; easy: 10 x 10, empty"
    )
    max_steps: int = settings.key(100, checks.integer(1), "after which an episode is cut", "CS285")


def make(chosen: Settings, num_envs: int, seed: int) -> vector.FunctionalVector:
    """Builds the environment; see `envs.base.make`."""
    return vector.single(task_name, dynamics, parameters_of, chosen, num_envs, seed)


def task_name(chosen: Settings) -> str:
    """The map's name."""
    return f"point_mass_{chosen.map}"


def walls(name: str) -> np.ndarray:
    """Where the walls of a map are, bool [units, units]."""
    rows = [[place == "#" for place in row] for row in _MAPS[name].split()]
    return np.kron(np.array(rows), np.ones((_SCALE, _SCALE), bool))


def goal(name: str) -> np.ndarray:
    """The goal's position [2]: as far from the last corner as the start is from the first."""
    return np.array(walls(name).shape, np.float32) - np.float32(_START)


def dynamics(chosen: Settings) -> contract.Dynamics:
    """Of every map; see `parameters_of`.

    Observations are positions over the map's size, float32 [2] in [0, 1]. The actions: stay; along
    the second axis, back; along the first axis, back.
    """
    del chosen
    return contract.Dynamics(
        observation_spec=specs.BoundedArray((2,), np.float32, 0.0, 1.0, name="observation"),
        num_actions=len(_MOVES),
        begin=_begin,
        step=_step,
        observe=lambda parameters, state: state["position"] / parameters["walls"].shape[0],
    )


def parameters_of(chosen: Settings) -> dict[str, jax.Array]:
    """Walls bool [units, units], goal [2], and the length of an episode."""
    return {
        "walls": jnp.asarray(walls(chosen.map)),
        "goal": jnp.asarray(goal(chosen.map)),
        "max_steps": jnp.int32(chosen.max_steps),
    }


def _begin(parameters: Any, rng: jax.Array) -> dict[str, jax.Array]:
    del parameters, rng
    return {"position": jnp.full(2, _START), "steps": jnp.zeros((), jnp.int32)}


def _step(parameters: Any, state: Any, action: jax.Array, rng: jax.Array) -> contract.Stepped:
    displacement = jnp.asarray(_MOVES)[action] + _NOISE * jax.random.normal(rng, (2,))
    position = push(state["position"], displacement, parameters["walls"])
    steps = state["steps"] + 1
    is_in_goal = jnp.linalg.norm(position - parameters["goal"]) < _GOAL_DISTANCE
    return contract.Stepped(
        state={"position": position, "steps": steps},
        reward=jnp.where(is_in_goal, 0.0, -1.0),
        is_terminal=is_in_goal,
        is_truncated=steps >= parameters["max_steps"],
    )


def push(position: jax.Array, displacement: jax.Array, is_wall: jax.Array) -> jax.Array:
    """Where a point at [2] gets to, pushed by [2] in ten parts along each axis in turn."""

    def part(position: jax.Array, _) -> tuple[jax.Array, None]:
        for axis in range(2):
            moved = position.at[axis].add(displacement[axis] / _NUM_PARTS)
            position = jnp.where(_is_blocked(moved, is_wall), position, moved)
        return position, None

    return jax.lax.scan(part, position, None, length=_NUM_PARTS)[0]


def _is_blocked(position: jax.Array, is_wall: jax.Array) -> jax.Array:
    """Whether a point [2] is outside or in a wall, bool []."""
    place = jnp.floor(position).astype(jnp.int32)
    size = is_wall.shape[0]
    is_outside = jnp.any((place < 0) | (place >= size))
    row, column = jnp.clip(place, 0, size - 1)
    return is_outside | is_wall[row, column]

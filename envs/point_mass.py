"""A point that is pushed through rooms towards a goal: PointmassHard.

Berkeley's CS285, fall 2023, homework 5, where implicit Q-learning goes from offline data to
playing. An action moves the point by one along an axis, with noise of N(0, 0.5^2) on both axes, in
ten parts; a part that would lead into a wall or outside is not made, axis by axis. The reward is -1
a step and 0 in the goal, within a distance of 2, where the episode ends; it is cut after 100 steps.
"""

import dataclasses
from collections.abc import Mapping

import dm_env
import numpy as np
from dm_env import specs

from core import checks, settings
from envs import base, episodes, random_bits, saved_settings, turns

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

_MOVES = np.array([[0, 0], [0, 1], [0, -1], [1, 0], [-1, 0]], np.float64)
_NOISE = 0.5
_NUM_PARTS = 10
_START = 2.0
_GOAL_DISTANCE = 2.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment`."""

    module: str = settings.key("point_mass", checks.one_of("point_mass"), "this environment")
    map: str = settings.key(
        "hard", checks.one_of(*_MAPS), "hard: four rooms of 22 x 22 in all; easy: 10 x 10, empty"
    )
    max_steps: int = settings.key(100, checks.integer(1), "after which an episode is cut", "CS285")


def make(chosen: Settings, num_envs: int, seed: int) -> "PointMass":
    """Builds the environment; see `envs.base.make`."""
    return PointMass(chosen, num_envs, seed)


def frames_per_step(chosen: Settings) -> int:
    """1: there is no emulator."""
    del chosen
    return PointMass.frames_per_step


def task_name(chosen: Settings) -> str:
    """The map's name."""
    return f"point_mass_{chosen.map}"


def walls(name: str) -> np.ndarray:
    """Where the walls of a map are, bool [units, units]."""
    rows = [[place == "#" for place in row] for row in _MAPS[name].split()]
    return np.kron(np.array(rows), np.ones((_SCALE, _SCALE), bool))


def goal(name: str) -> np.ndarray:
    """The goal's position [2]: as far from the last corner as the start is from the first."""
    return np.array(walls(name).shape, np.float64) - _START


class PointMass(base.VectorEnvironment):
    """N points. Observations are positions over the map's size, float32 [2] in [0, 1].

    The work is done in `recv`. All of the state is in arrays, so that resuming is exact.
    """

    frames_per_step = 1
    exact_resume = True

    def __init__(self, chosen: Settings, num_envs: int, seed: int):
        """Environment i draws its noise from (seed, i)."""
        self.num_envs = num_envs
        self._name = task_name(chosen)
        self._max_steps = chosen.max_steps
        self._settings = {**dataclasses.asdict(chosen), "num_envs": num_envs, "seed": seed}
        self._walls, self._goal = walls(chosen.map), goal(chosen.map)
        self._keys = np.array([base.environment_seed(seed, i) for i in range(num_envs)], np.uint64)
        self._turns = turns.Turns(num_envs, len(_MOVES))
        self._recorder = episodes.EpisodeRecorder(num_envs, self.frames_per_step)
        self._actions = np.zeros(num_envs, np.int32)
        self._positions = np.full((num_envs, 2), _START)
        self._steps = np.zeros(num_envs, np.int64)
        self._draws = np.zeros(num_envs, np.uint64)
        self._timestep: dm_env.TimeStep

    def observation_spec(self) -> specs.BoundedArray:
        """float32 [2] in [0, 1]."""
        return specs.BoundedArray((2,), np.float32, 0.0, 1.0, name="observation")

    def action_spec(self) -> specs.DiscreteArray:
        """Stay; along the second axis, back; along the first axis, back."""
        return specs.DiscreteArray(len(_MOVES), np.int32, name="action")

    def reset(self) -> dm_env.TimeStep:
        """Starts the next episode in every environment."""
        self._turns.start()
        self._recorder.abandon()
        self._begin_episodes(np.ones(self.num_envs, bool))
        self._timestep = self._make_timestep()
        return self._timestep

    def send(self, actions: np.ndarray) -> None:
        """Stores the actions for `recv`."""
        self._actions = self._turns.send(actions)

    def recv(self) -> dm_env.TimeStep:
        """Computes the step."""
        self._turns.recv()
        self._steps += 1
        self._draws += np.uint64(1)
        noise = _NOISE * random_bits.normals(self._keys, self._draws)
        self._positions = push(self._positions, _MOVES[self._actions] + noise, self._walls)
        self._begin_episodes(self._timestep.step_type == dm_env.StepType.LAST)
        self._timestep = self._make_timestep()
        self._recorder.record(self._timestep)
        return self._timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        return self._recorder.finished()

    def check_ready(self, call: str) -> None:
        """See the base class."""
        self._turns.check_ready(call)

    def get_state(self) -> dict[str, np.ndarray]:
        """See the base class."""
        self._turns.check_ready("get_state")
        return {
            "settings": saved_settings.encode(self._settings),
            "positions": self._positions.copy(),
            "steps": self._steps.copy(),
            "draws": self._draws.copy(),
            **{name: array.copy() for name, array in self._timestep._asdict().items()},
            **self._recorder.get_state(),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """See the base class."""
        saved_settings.check_equal(state["settings"], self._settings)
        self._turns.start()
        self._positions[:] = state["positions"]
        self._steps[:] = state["steps"]
        self._draws[:] = state["draws"]
        self._recorder.set_state(state)
        self._timestep = dm_env.TimeStep(*(state[name].copy() for name in dm_env.TimeStep._fields))
        return self._timestep

    def close(self) -> None:
        """See the base class."""
        self._turns.close()

    def _begin_episodes(self, env_ids: np.ndarray) -> None:
        self._steps[env_ids] = 0
        self._positions[env_ids] = _START

    def _make_timestep(self) -> dm_env.TimeStep:
        is_first = self._steps == 0
        distance = np.linalg.norm(self._positions - self._goal, axis=1)
        is_in_goal = ~is_first & (distance < _GOAL_DISTANCE)
        return base.make_timestep(
            self._name,
            (self._positions / self._walls.shape).astype(np.float32),
            np.where(is_in_goal, 0, -1),
            terminated=is_in_goal,
            truncated=self._steps == self._max_steps,
            is_first=is_first,
        )


def push(positions: np.ndarray, displacements: np.ndarray, is_wall: np.ndarray) -> np.ndarray:
    """Where points at [N, 2] get to, pushed by [N, 2] in ten parts along each axis in turn."""
    positions = positions.copy()
    for _ in range(_NUM_PARTS):
        for axis in range(2):
            moved = positions.copy()
            moved[:, axis] += displacements[:, axis] / _NUM_PARTS
            is_free = ~_is_blocked(moved, is_wall)
            positions[is_free] = moved[is_free]
    return positions


def _is_blocked(positions: np.ndarray, is_wall: np.ndarray) -> np.ndarray:
    """Whether points [N, 2] are outside or in a wall, bool [N]."""
    places = np.floor(positions).astype(int)
    is_outside = ((places < 0) | (places >= is_wall.shape)).any(axis=1)
    row, column = np.clip(places, 0, np.array(is_wall.shape) - 1).T
    return is_outside | is_wall[row, column]

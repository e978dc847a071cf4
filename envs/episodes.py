"""Returns and lengths of the episodes that run in a vector of environments."""

from collections.abc import Mapping

import dm_env
import numpy as np

from envs import base

# Plain ints: comparing an array with an enum member takes ten times as long.
_FIRST, _LAST = int(dm_env.StepType.FIRST), int(dm_env.StepType.LAST)


class EpisodeRecorder:
    """Adds up each environment's rewards and steps; keeps the episodes that ended until asked."""

    def __init__(self, num_envs: int, frames_per_step: int):
        self._frames_per_step = frames_per_step
        self._returns = np.zeros(num_envs, np.float64)
        self._steps = np.zeros(num_envs, np.int64)
        self._finished: list[base.Episode] = []

    def abandon(self) -> None:
        """Forgets the running episodes: every environment starts a new one."""
        self._returns[:] = 0.0
        self._steps[:] = 0

    def record(self, timestep: dm_env.TimeStep) -> None:
        """Records one step of every environment; each LAST finishes an episode."""
        self._returns += timestep.reward
        self._steps += timestep.step_type != _FIRST
        for env_id in np.flatnonzero(timestep.step_type == _LAST):
            length_frames = int(self._steps[env_id]) * self._frames_per_step
            self._finished.append(
                base.Episode(int(env_id), float(self._returns[env_id]), length_frames)
            )
            self._returns[env_id] = 0.0
            self._steps[env_id] = 0

    def finished(self) -> list[base.Episode]:
        """The episodes that ended since the last call, in order of their end."""
        episodes, self._finished = self._finished, []
        return episodes

    def get_state(self) -> dict[str, np.ndarray]:
        """The running episodes, and those finished but not asked for yet."""
        env_ids, returns, lengths = zip(*self._finished) if self._finished else ((), (), ())
        return {
            "episode_returns": self._returns.copy(),
            "episode_steps": self._steps.copy(),
            "finished_ids": np.array(env_ids, np.int64),
            "finished_returns": np.array(returns, np.float64),
            "finished_length_frames": np.array(lengths, np.int64),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores `get_state`'s result."""
        self._returns[:] = state["episode_returns"]
        self._steps[:] = state["episode_steps"]
        finished = (state["finished_ids"], state["finished_returns"])
        rows = zip(*(column.tolist() for column in (*finished, state["finished_length_frames"])))
        self._finished = [base.Episode(*row) for row in rows]

"""Seeds and the actions since: all it takes to restore a deterministic emulator exactly."""

from collections.abc import Mapping

import numpy as np


class ActionLog:
    """The seed of each environment's last seeded reset, and every action sent to it since.

    Environments are seeded at different times, yet each gets an action on every step: one table of
    actions [T, N] serves all, and environment i's log is the rows from `starts[i]` on. T is the
    length of the longest log; rows that no log needs any more are dropped.
    """

    def __init__(self, num_envs: int):
        self.seeds = np.zeros(num_envs, np.int32)
        self.counts = np.zeros(num_envs, np.int32)
        """How many times each environment was seeded; the next seed is derived from it."""
        self.starts = np.zeros(num_envs, np.int64)
        self._bytes = bytearray()

    @property
    def actions(self) -> np.ndarray:
        """The actions sent, uint8 [T, N]: a copy."""
        return np.frombuffer(bytes(self._bytes), np.uint8).reshape(-1, len(self.seeds))

    @property
    def lengths(self) -> np.ndarray:
        """Agent steps in each environment's log, int64 [N]."""
        return len(self._bytes) // len(self.seeds) - self.starts

    def append(self, actions: np.ndarray) -> None:
        """Adds the actions [N] of one step; they must fit in a byte."""
        self._bytes += actions.astype(np.uint8).tobytes()

    def restart(self, env_ids: np.ndarray, seeds: np.ndarray) -> None:
        """Restarts these environments' logs after a reset with these seeds."""
        self.seeds[env_ids] = seeds
        self.counts[env_ids] += 1
        self.starts[env_ids] = len(self._bytes) // len(self.seeds)
        self._drop_rows(int(self.starts.min()))

    def get_state(self) -> dict[str, np.ndarray]:
        """The log as arrays."""
        return {
            "seeds": self.seeds.copy(),
            "seed_counts": self.counts.copy(),
            "action_log": self.actions,
            "action_log_starts": self.starts.copy(),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores `get_state`'s result."""
        self.seeds[:] = state["seeds"]
        self.counts[:] = state["seed_counts"]
        self.starts[:] = state["action_log_starts"]
        self._bytes = bytearray(state["action_log"].astype(np.uint8).tobytes())

    def _drop_rows(self, rows: int) -> None:
        del self._bytes[: rows * len(self.seeds)]
        self.starts -= rows

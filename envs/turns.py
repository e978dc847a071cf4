"""Holds the callers of an environment to the order reset, send, recv, send, recv, ..."""

import numpy as np


class Turns:
    """Whose turn it is, and the check of every action before an emulator sees it.

    ALE's vector environment waits for ever on a `recv` without a `send`, and on an invalid action.
    """

    def __init__(self, num_envs: int, num_actions: int):
        self._num_envs = num_envs
        self._num_actions = num_actions
        self._started = False
        self._sent = False

    def start(self) -> None:
        """Called by `reset` and `set_state`: from here on `send` may follow."""
        if self._sent:
            raise RuntimeError("reset or set_state between a send and its recv")
        self._started = True

    def send(self, actions: np.ndarray) -> np.ndarray:
        """Returns the actions, checked, as a fresh int32 [N].

        Raises:
          ValueError: if they are not integers [N] in [0, num_actions).
          RuntimeError: before the first reset, or if a `recv` is due.
        """
        self.check_ready("send")
        checked = self._check_actions(np.asarray(actions))
        self._sent = True
        return checked

    def recv(self) -> None:
        """Raises RuntimeError if there is nothing to receive."""
        if not self._sent:
            raise RuntimeError("recv without a send before it")
        self._sent = False

    def close(self) -> None:
        """From here on every call fails, rather than waiting on threads that are gone."""
        self._started = False
        self._sent = False

    def check_ready(self, call: str) -> None:
        """Raises RuntimeError unless an episode was started and no step is under way."""
        if not self._started:
            raise RuntimeError(f"{call} before reset or set_state, or after close")
        if self._sent:
            raise RuntimeError(f"{call} between a send and its recv")

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        if actions.shape != (self._num_envs,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions of {actions.dtype}, shape {actions.shape}: expected integers of shape "
                f"({self._num_envs},)"
            )
        if actions.min() < 0 or actions.max() >= self._num_actions:
            raise ValueError(
                f"actions = {actions}: expected values from 0 to {self._num_actions - 1}"
            )
        return actions.astype(np.int32)

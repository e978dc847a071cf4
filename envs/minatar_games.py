"""MinAtar's games with permuted channels and actions, as a Gymnasium environment.

    environment.module = "gymnasium_vector"
    environment.id = "envs.minatar_games:PermutedMinAtar-v0"
    environment.kwargs = {"game": "breakout", "task": 1}

The games (Young & Tian 2019, arXiv 1903.03176) are in the package MinAtar, under the GPL and
in the extra `minatar` alone. All have 10 channels here, of which some stay empty, and 6 actions, so
that they can follow each other (envs/environment_sequence.py).
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")

_SIZE = 10
_CHANNELS = 10
_ACTIONS = 6
# Apart from the seeds of runs.
_TASK_SEED = 20_240_702
# The games themselves may have no end.
_MAX_STEPS = 5_000


class PermutedMinAtar(gymnasium.Env):
    """A game; in each task but 0 its channels and actions are permuted in another way."""

    def __init__(self, game: str = "breakout", task: int = 0, **kwargs: Any):
        """Makes the game.

        Args:
          game: one of GAMES.
          task: which permutations, the same in all runs; 0 for none.
          **kwargs: of minatar.Environment, such as sticky_action_prob.

        Raises:
          DependencyNotInstalled: without the package.
          ValueError: for another game.
        """
        if game not in GAMES:
            raise ValueError(f"game = {game!r}: expected one of {', '.join(GAMES)}")
        try:
            import minatar  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise gymnasium.error.DependencyNotInstalled(
                "pip install -c constraints.txt -e '.[minatar]'"
            ) from error
        self._game = minatar.Environment(game, **kwargs)
        self._channels, self._actions = permutations(task)
        self.observation_space = spaces.Box(0, 255, (_CHANNELS, _SIZE, _SIZE), np.uint8)
        self.action_space = spaces.Discrete(_ACTIONS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begins an episode; a seed begins the random numbers anew."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._game.seed(seed)
        self._game.reset()
        return self._observation(), {}

    def step(self, action: int):
        """Plays the game's action that stands behind this one."""
        reward, is_over = self._game.act(int(self._actions[action]))
        return self._observation(), float(reward), bool(is_over), False, {}

    def _observation(self) -> np.ndarray:
        """The screen, uint8 [10, 10, 10], channels first."""
        screen = np.zeros((_CHANNELS, _SIZE, _SIZE), np.uint8)
        shown = self._game.state().transpose(2, 0, 1)
        screen[: len(shown)] = np.where(shown, 255, 0)
        return screen[self._channels]


def permutations(task: int) -> tuple[np.ndarray, np.ndarray]:
    """Of channels [10] and actions [6]."""
    if not task:
        return np.arange(_CHANNELS), np.arange(_ACTIONS)
    random = np.random.RandomState([_TASK_SEED, task])
    return random.permutation(_CHANNELS), random.permutation(_ACTIONS)


gymnasium.register(
    "PermutedMinAtar-v0",
    entry_point="envs.minatar_games:PermutedMinAtar",
    max_episode_steps=_MAX_STEPS,
)

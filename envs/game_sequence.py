"""Atari games one after the other: the environment of a continual run (Lyle et al. 2024).

All lanes play the same game, then all of them the next one; after the last game the first comes
again. The paper plays ten games of 20M frames twice; which games, and in which order, is not
public. Always with all 18 actions, so that one network fits every game.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dm_env
import ml_collections
import numpy as np
from dm_env import specs

from core import checks
from envs import atari, base, saved_settings

ATARI_10 = (
    "amidar",
    "bowling",
    "frostbite",
    "kung_fu_master",
    "riverraid",
    "battle_zone",
    "double_dunk",
    "name_this_game",
    "phoenix",
    "qbert",
)
"""The Atari-10 set (Aitchison et al. 2023, arXiv 2210.02019)."""

FRAME_SKIP = atari.FRAME_SKIP
_OF_EACH_GAME = ("protocol", "max_episode_frames", "num_threads", "reseed_steps")

CHECKS: Mapping[str, checks.Check] = {
    "module": checks.text(),
    "games": checks.each(checks.text()),
    "frames_per_game": checks.integer(FRAME_SKIP),
    **{key: atari.CHECKS[key] for key in _OF_EACH_GAME},
}

_LAST = int(dm_env.StepType.LAST)
# In place of a lane: keeps the games' seeds apart from those of lanes and of evaluations.
_GAME_SEEDS = 1 << 21


def default_config() -> ml_collections.ConfigDict:
    """The `environment` section of a continual run."""
    single = atari.default_config()
    config = ml_collections.ConfigDict({key: single[key] for key in _OF_EACH_GAME})
    config.module = "game_sequence"
    config.games = ATARI_10
    # Emulator frames of one seed in a game, over all its environments. The run's num_frames says
    # how often the games come: games * frames_per_game is one pass.
    config.frames_per_game = 20_000_000
    return config


def make(config: Mapping[str, Any], num_envs: int, seed: int) -> "GameSequence":
    """Builds the sequence at its first game.

    Raises:
      ConfigError: for a bad key or value, an unknown game, or a game twice in a row.
    """
    checks.verify("environment", config, CHECKS)
    check_games(config["games"])
    return GameSequence(config, num_envs, seed)


def task_config(config: Mapping[str, Any], task: int) -> Any:
    """The `environment` section that plays one game of the sequence alone.

    Args:
      config: the sequence's section.
      task: the game's number in the run, from 0; it goes on counting when the games come again.
    """
    single = atari.default_config()
    single.game = config["games"][task % len(config["games"])]
    single.full_action_space = True
    for key in _OF_EACH_GAME:
        single[key] = config[key]
    return single


def check_games(games: Sequence[str]) -> None:
    """Raises ConfigError for an empty list, an unknown game, or a game twice in a row."""
    if not games:
        raise checks.ConfigError("environment.games = []: expected at least one game")
    for game in games:
        atari.check_game(game, "environment.games")
    for game, following in zip(games, (*games[1:], games[0])):
        if game == following and len(games) > 1:
            raise checks.ConfigError(
                f"environment.games = {list(games)}: {game!r} twice in a row (after the last game "
                "the first comes again), expected another game after each"
            )


class GameSequence(base.VectorEnvironment):
    """Lanes that play one game until `next_task` is called, then all of them the next one.

    The step on which a game is left is LAST in every lane: a truncation, unless the episode ended
    on it anyway. (A lane whose episode would begin on it has an episode without steps.) Episodes
    that are cut so are not among the `finished_episodes`.
    """

    frames_per_step = FRAME_SKIP
    exact_resume = True

    def __init__(self, config: Mapping[str, Any], num_envs: int, seed: int):
        """Starts the emulators of the first game. Arguments: see `make`."""
        self.num_envs = num_envs
        self.task = 0
        self._config = config
        self._seed = seed
        self._settings = {"games": list(config["games"]), "num_envs": num_envs, "seed": seed}
        self._is_leaving = False
        self._finished: list[base.Episode] = []
        self._game = self._make_game()

    def observation_spec(self) -> specs.Array:
        """uint8 [84, 84]."""
        return self._game.observation_spec()

    def action_spec(self) -> specs.DiscreteArray:
        """Indices into all 18 actions."""
        return self._game.action_spec()

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode of the present game in every lane."""
        if self._is_leaving:
            self._enter_next_game()
        self._timestep = self._game.reset()
        return self._timestep

    def next_task(self) -> dm_env.TimeStep:
        """Leaves the game: the present step becomes the LAST of every lane's episode."""
        if self._is_leaving:
            raise RuntimeError("next_task twice without a step between")
        self._game.check_ready("next_task")
        self._finished += self._game.finished_episodes()
        self._is_leaving = True
        self.task += 1
        self._timestep = self._as_left(self._timestep)
        return self._timestep

    def send(self, actions: np.ndarray) -> None:
        """As any environment's; what the game that is being left answers is not looked at."""
        self._game.send(actions)

    def recv(self) -> dm_env.TimeStep:
        """The step that `send` began, or the FIRST of the next game."""
        timestep = self._game.recv()
        if self._is_leaving:
            self._enter_next_game()
            timestep = self._game.reset()
        self._timestep = timestep
        return timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        finished, self._finished = self._finished, []
        return finished + ([] if self._is_leaving else self._game.finished_episodes())

    def get_state(self) -> dict[str, np.ndarray]:
        """The present game's state, which game it is, and whether it is being left."""
        return {
            **self._game.get_state(),
            "sequence": saved_settings.encode(self._settings),
            "task": np.array(self.task),
            "is_leaving": np.array(self._is_leaving),
            "finished_before": np.array(self._finished, np.float64).reshape(-1, 3),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """Restores `get_state`'s result; see AtariEnvironment.

        Raises:
          ValueError: if the state was taken from a sequence of other settings.
          RuntimeError: if the emulators did not arrive at the saved step.
        """
        saved_settings.check_equal(state["sequence"], self._settings)
        self._is_leaving = bool(state["is_leaving"])
        self._game.close()
        self.task = int(state["task"]) - self._is_leaving
        self._game = self._make_game()
        timestep = self._game.set_state(state)
        self.task += self._is_leaving
        rows = state["finished_before"].tolist()
        self._finished = [base.Episode(int(i), r, int(length)) for i, r, length in rows]
        self._timestep = self._as_left(timestep) if self._is_leaving else timestep
        return self._timestep

    def close(self) -> None:
        """Ends the emulator threads."""
        self._game.close()

    def _as_left(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        is_first = timestep.first()
        return timestep._replace(
            step_type=np.full(self.num_envs, _LAST, np.int32),
            discount=np.where(is_first, np.float32(1), timestep.discount),
        )

    def _enter_next_game(self) -> None:
        self._game.close()
        self._is_leaving = False
        self._game = self._make_game()

    def _make_game(self) -> atari.AtariEnvironment:
        seed = base.lane_seed(self._seed, _GAME_SEEDS, self.task)
        return atari.make(task_config(self._config, self.task), self.num_envs, seed)

"""Atari games one after the other: the environment of a continual run (Lyle et al. 2024).

All environments play the same game, then all of them the next one; after the last game the first
comes again. The paper plays ten games of 20M frames twice; which games, and in which order, is not
public. Always with all 18 actions, so that one network fits every game.
"""

import dataclasses
import functools

from core import checks, settings
from envs import atari, base, task_sequence

PRESETS = {
    # Abbas et al. 2023, "Loss of plasticity in continual deep reinforcement learning": ten games
    # of 20M frames, in this order. NaP's continual run has the same shape, and one institution in
    # common, so these are the likelier reading of its unknown ten games.
    "s_ale_10": (
        "alien",
        "atlantis",
        "boxing",
        "breakout",
        "centipede",
        "double_dunk",
        "freeway",
        "pong",
        "space_invaders",
        "tennis",
    ),
    # The same paper's longer visits to five of them.
    "s_ale_5": ("alien", "atlantis", "boxing", "breakout", "centipede"),
    # Aitchison et al. 2023, "Atari-5" (arXiv 2210.02019): the subset that best represents all 57.
    "atari_10": (
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
    ),
}

FRAMES_PER_TASK = "frames_per_game"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment` of a continual run; see envs/atari.py for keys of the same name."""

    module: str = settings.key("game_sequence", checks.one_of("game_sequence"), "this environment")
    games: tuple[str, ...] = settings.key(
        ("s_ale_10",),
        checks.each(checks.text()),
        f"in their order; {', '.join(PRESETS)} stand for all of theirs",
        "Abbas et al. 2023",
    )
    frames_per_game: int = settings.key(
        20_000_000,
        checks.integer(atari.FRAME_SKIP),
        "emulator frames of one seed in a game, over all its environments",
        "Abbas et al. 2023, Lyle et al. 2024",
    )
    protocol: str = settings.key(
        "dqn_zoo", checks.one_of(*atari.PROTOCOLS), "of every game", "ours; Abbas et al.: machado"
    )
    max_episode_frames: int = settings.key(
        108_000, atari.EPISODE_FRAMES, "until an episode is truncated", "DQN Zoo"
    )
    num_threads: int = settings.key(0, checks.integer(0), "emulator threads; 0: by the cores")
    reseed_steps: int = settings.key(
        10_000, checks.integer(1), "agent steps until an environment gets a new seed"
    )

    def __post_init__(self):
        """Raises ConfigError for an unknown game, or a game twice in a row."""
        for game in self.all_games:
            atari.check_game(game, "environment.games")
        task_sequence.check_order(self.all_games, "environment.games")

    @property
    def all_games(self) -> tuple[str, ...]:
        """The games in order, with presets expanded."""
        # On the command line a list without brackets is one string: pong,breakout.
        names = [name.strip() for text in self.games for name in text.split(",")]
        return tuple(game for name in names for game in PRESETS.get(name, (name,)))

    @functools.cached_property
    def tasks(self) -> tuple[base.Settings, ...]:
        """The settings of each game."""
        return tuple(
            atari.Settings(
                game=game,
                protocol=self.protocol,
                max_episode_frames=self.max_episode_frames,
                full_action_space=True,
                num_threads=self.num_threads,
                reseed_steps=self.reseed_steps,
            )
            for game in self.all_games
        )


def make(chosen: Settings, num_envs: int, seed: int) -> task_sequence.TaskSequence:
    """Builds the sequence at its first game."""
    return task_sequence.TaskSequence(chosen.tasks, num_envs, seed)


def frames_per_step(chosen: Settings) -> int:
    """The frame skip."""
    del chosen
    return atari.FRAME_SKIP


def task_name(chosen: Settings) -> str:
    """How many games, of how many frames."""
    return f"{len(chosen.all_games)}_games_of_{chosen.frames_per_game}_frames"


def tasks(chosen: Settings) -> tuple[base.Settings, ...]:
    """The settings of each game alone."""
    return chosen.tasks

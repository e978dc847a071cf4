"""Atari 2600 games through the Arcade Learning Environment's vector environment (C++ threads).

It plays every game in its default mode and difficulty; gymnasium_vector offers the others, more
slowly (docs/adding.md).
"""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from typing import Any

import ale_py
import dm_env
import gymnasium
import numpy as np
from absl import logging
from ale_py import roms, vector_env
from dm_env import specs

from core import checks, settings
from envs import action_log, base, episodes, saved_settings, turns

_TELL_SECONDS = 10

FRAME_SKIP = 4
EPISODE_FRAMES = checks.integer(FRAME_SKIP, 2**31 - 1)
"""What a key `max_episode_frames` may be; ALE counts them as int32."""
FRAME_SIZE = 84

_AGENTS_PICTURE = {"img_height": FRAME_SIZE, "img_width": FRAME_SIZE, "grayscale": True}
_SCREEN = {"img_height": 210, "img_width": 160, "grayscale": False}
_EMULATOR_FRAMES_PER_SECOND = 60

# Two-player ROMs that ship with ale_py; loading one ends the whole process.
_UNSUPPORTED_ROMS = {"combat", "joust", "maze_craze", "warlords"}


@dataclasses.dataclass(frozen=True)
class AtariProtocol:
    """Rules under which scores are comparable; see PROTOCOLS."""

    sticky_probability: float
    """Probability, per emulator frame, that the previous action is repeated."""
    max_noop_frames: int
    """An episode starts after 0 to this many no-op frames, uniformly drawn."""
    life_loss_discount: float
    """The discount on a step that loses a life; the episode goes on."""
    full_action_space: bool
    """All 18 actions rather than those that have an effect in the game."""


PROTOCOLS = {
    # DQN Zoo (Quan & Ostrovski 2020), after Mnih et al. 2015 and Hessel et al. 2017. Two
    # differences: DQN Zoo draws 1 to 30 no-ops, ALE 0 to 30; it resizes with PIL's bilinear
    # filter, ALE with OpenCV's INTER_AREA.
    "dqn_zoo": AtariProtocol(0.0, 30, 0.0, False),
    # Machado et al. 2018, "Revisiting the Arcade Learning Environment", section 5.
    "machado": AtariProtocol(0.25, 0, 1.0, True),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `environment` of an Atari run."""

    module: str = settings.key("atari", checks.one_of("atari"), "this environment")
    game: str = settings.key(
        "pong",
        checks.text(),
        "a ROM of ale_py by its file's name; envs/atari_games.py lists the usual 57",
    )
    protocol: str = settings.key(
        "dqn_zoo",
        checks.one_of(*PROTOCOLS),
        "dqn_zoo: no sticky actions, up to 30 no-ops, discount 0 on life loss, minimal actions; "
        "machado: sticky actions (0.25), no life information, 18 actions",
    )
    max_episode_frames: int = settings.key(
        108_000,
        EPISODE_FRAMES,
        "emulator frames until an episode is truncated, no-ops not counted: 30 minutes of play",
        "DQN Zoo, Dopamine",
    )
    full_action_space: bool | None = settings.key(
        None,
        checks.optional(checks.boolean()),
        "true: 18 actions; false: the game's minimal set; not given: as the protocol has it",
    )
    num_threads: int = settings.key(
        0,
        checks.integer(0),
        "emulator threads; 0: as many as there are cores, but no more than environments",
    )
    reseed_steps: int = settings.key(
        10_000,
        checks.integer(1),
        "agent steps after which an environment gets a new seed at its next game over, so that the "
        "log which restores it stays short; a reseed takes 90 ms, in which others wait: 3 % of the "
        "time of two busy emulator threads",
    )

    def __post_init__(self):
        """Raises ConfigError for an unknown game."""
        check_game(self.game, "environment.game")


def make(chosen: Settings, num_envs: int, seed: int) -> "AtariEnvironment":
    """Builds the environment; see `envs.base.make`."""
    return _make(chosen, num_envs, seed, _AGENTS_PICTURE)


def frames_per_step(chosen: Settings) -> int:
    """The frame skip."""
    del chosen
    return FRAME_SKIP


def task_name(chosen: Settings) -> str:
    """The game."""
    return chosen.game


def make_filmed(chosen: Settings, seed: int) -> base.Filmed:
    """As `make`, with the game's own screen; see `envs.base.Filmed`.

    A twin emulator that plays the same game renders it: emulation does not depend on the size or
    colour of the picture.
    """
    environment = make(chosen, 1, seed)
    twin = _make(chosen, 1, seed, _SCREEN)

    def screen(actions: np.ndarray | None) -> np.ndarray:
        timestep = twin.reset() if actions is None else twin.step(actions)
        return timestep.observation[0]

    return base.Filmed(environment, screen, _EMULATOR_FRAMES_PER_SECOND / FRAME_SKIP)


def _make(
    chosen: Settings, num_envs: int, seed: int, picture: Mapping[str, Any]
) -> "AtariEnvironment":
    return AtariEnvironment(
        chosen.game,
        chosen.protocol,
        num_envs=num_envs,
        seed=seed,
        full_action_space=has_full_action_space(chosen),
        max_episode_frames=chosen.max_episode_frames,
        num_threads=chosen.num_threads,
        reseed_steps=chosen.reseed_steps,
        picture=picture,
    )


def has_full_action_space(chosen: Settings) -> bool:
    """Whether all 18 actions are available: by the settings, or else by the protocol."""
    asked = chosen.full_action_space
    return PROTOCOLS[chosen.protocol].full_action_space if asked is None else asked


class AtariEnvironment(base.VectorEnvironment):
    """N games of one kind, stepped by C++ threads while the caller does something else.

    An observation is the newest frame alone, uint8 [84, 84]: the maximum of the last two of four
    emulator frames in grey. Agents that see the last four stack them, with zeros before an
    episode's first frame. On a step cut short by the end of an episode the emulator does not
    render its last frame, and the observation is mostly that of the step before.

    Episode lengths exclude the no-ops. A life loss is a decrease of ALE's `lives` from
    one step to the next: reported only where the protocol's `life_loss_discount` is below 1.

    Exact resume: ALE's vector environment can't be saved, but it is deterministic. The state holds
    each environment's last seed and the actions since, and `set_state` replays them.
    """

    frames_per_step = FRAME_SKIP
    exact_resume = True

    def __init__(
        self,
        game: str,
        protocol: str,
        *,
        num_envs: int,
        seed: int,
        full_action_space: bool,
        max_episode_frames: int,
        num_threads: int,
        reseed_steps: int,
        picture: Mapping[str, Any] = _AGENTS_PICTURE,
    ):
        """Starts the emulators.

        Arguments: see `Settings` and `envs.base.make`; `picture` is what it shows.
        """
        rules = PROTOCOLS[protocol]
        self._game = game
        self.num_envs = num_envs
        self._seed = seed
        self._reseed_steps = reseed_steps
        self._life_loss_discount = rules.life_loss_discount
        self._settings = {
            "game": game,
            "protocol": protocol,
            "num_envs": num_envs,
            "seed": seed,
            "full_action_space": full_action_space,
            "max_episode_frames": max_episode_frames,
            "reseed_steps": reseed_steps,
        }
        self._emulators = _make_emulators(
            game, rules, num_envs, full_action_space, max_episode_frames, num_threads, picture
        )
        self._num_actions = len(self._emulators.ale.get_action_set())
        self._turns = turns.Turns(num_envs, self._num_actions)
        self._episodes = episodes.EpisodeRecorder(num_envs, FRAME_SKIP)
        self._log = action_log.ActionLog(num_envs)
        self._lives = np.zeros(num_envs, np.int32)
        self._timestep: dm_env.TimeStep
        self._is_over = np.zeros(num_envs, bool)

    def observation_spec(self) -> specs.BoundedArray:
        """uint8 [84, 84]."""
        shape = (FRAME_SIZE, FRAME_SIZE)
        return specs.BoundedArray(shape, np.uint8, 0, 255, name="observation")

    def action_spec(self) -> specs.DiscreteArray:
        """Indices into the game's minimal action set, or into all 18 actions."""
        return specs.DiscreteArray(self._num_actions, np.int32, name="action")

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode in every environment, from new seeds each time."""
        self._turns.start()
        frames, info = self._reseed(np.ones(self.num_envs, bool))
        self._episodes.abandon()
        self._lives = info["lives"]
        self._is_over = np.zeros(self.num_envs, bool)
        self._timestep = base.make_first(self._game, _newest(frames))
        return self._timestep

    def send(self, actions: np.ndarray) -> None:
        """Wakes the emulator threads and returns at once (0.1 ms)."""
        actions = self._turns.send(actions)
        self._log.append(actions)
        self._emulators.send(actions)

    def recv(self) -> dm_env.TimeStep:
        """Waits for the emulators; reseeds those that start an episode with a long enough log."""
        self._turns.recv()
        frames, rewards, terminated, truncated, info = self._emulators.recv()
        is_first = self._is_over
        due = is_first & (self._log.lengths >= self._reseed_steps)
        if due.any():
            frames, info = self._reseed(due)
        discount = np.where(info["lives"] < self._lives, self._life_loss_discount, 1.0)
        self._is_over = terminated | truncated
        self._lives = info["lives"]
        self._timestep = base.make_timestep(
            self._game,
            _newest(frames),
            rewards,
            terminated=terminated,
            truncated=truncated,
            is_first=is_first,
            discount=discount,
        )
        self._episodes.record(self._timestep)
        return self._timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        return self._episodes.finished()

    def get_state(self) -> dict[str, np.ndarray]:
        """Seeds, actions since, running returns and the current step: a few kB per environment."""
        self._turns.check_ready("get_state")
        return {
            "settings": saved_settings.encode(self._settings),
            "ale_version": np.array(ale_py.__version__),
            "lives": self._lives.copy(),
            **{name: array.copy() for name, array in self._timestep._asdict().items()},
            **self._log.get_state(),
            **self._episodes.get_state(),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """Replays the saved actions from the saved seeds: seconds for about 10 000 steps.

        Raises:
          ValueError: if the state was taken from an environment with other settings.
          RuntimeError: if the emulators did not reach the saved observation and lives.
        """
        saved_settings.check_equal(state["settings"], self._settings)
        self._turns.start()
        self._log.set_state(state)
        frames, info = self._replay_log()
        self._check_replay(state, _newest(frames), info["lives"])
        self._lives = info["lives"]
        self._episodes.set_state(state)
        self._timestep = dm_env.TimeStep(*(state[name].copy() for name in dm_env.TimeStep._fields))
        self._is_over = self._timestep.step_type == dm_env.StepType.LAST
        return self._timestep

    def check_ready(self, call: str) -> None:
        """Raises RuntimeError before `reset`, after `close`, and while a step is under way."""
        self._turns.check_ready(call)

    def close(self) -> None:
        """Ends the emulator threads."""
        self._turns.close()
        vars(self).pop("_emulators", None)

    def _reseed(self, mask: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Starts an episode from a new seed where masked; returns all frames."""
        env_ids = np.flatnonzero(mask)
        counts = self._log.counts[env_ids]
        seeds = [base.environment_seed(self._seed, int(i), int(n)) for i, n in zip(env_ids, counts)]
        self._log.restart(env_ids, np.array(seeds, np.int32))
        return self._seeded_reset(mask)

    def _seeded_reset(self, mask: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self._emulators.reset(seed=self._log.seeds[mask], options={"reset_mask": mask})

    def _replay_log(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Steps through the log, each environment from its own row on; returns the last step."""
        # ALE requires resetting all first; those that start later idle through the others' steps.
        frames, info = self._seeded_reset(np.ones(self.num_envs, bool))
        actions = self._log.actions
        late_starts = set(self._log.starts.tolist()) - {0}
        for row in range(len(actions) + 1):
            logging.log_every_n_seconds(
                logging.INFO,
                "%s: %d of %d steps played again",
                _TELL_SECONDS,
                self._game,
                row,
                len(actions),
            )
            if row in late_starts:
                frames, info = self._seeded_reset(self._log.starts == row)
            if row < len(actions):
                frames, *_, info = self._emulators.step(actions[row].astype(np.int32))
        return frames, info

    def _check_replay(self, state: Mapping[str, np.ndarray], frames, lives) -> None:
        is_equal = (frames == state["observation"]).all(axis=(1, 2)) & (lives == state["lives"])
        if not is_equal.all():
            raise RuntimeError(
                f"environments {np.flatnonzero(~is_equal).tolist()} did not come back to the saved "
                f"observation when their actions were played again (state of ale_py "
                f"{state['ale_version']}, here {ale_py.__version__})"
            )


def _newest(frames: np.ndarray) -> np.ndarray:
    """[N, 1, 84, 84] as [N, 84, 84]: ALE's stack of one frame without its axis."""
    return frames[:, 0]


def _make_emulators(
    game: str,
    rules: AtariProtocol,
    num_envs: int,
    full_action_space: bool,
    max_episode_frames: int,
    num_threads: int,
    picture: Mapping[str, Any],
) -> vector_env.AtariVectorEnv:
    return vector_env.AtariVectorEnv(
        game,
        num_envs,
        num_threads=min(num_threads or _count_cores(), num_envs),
        max_num_frames_per_episode=max_episode_frames,
        repeat_action_probability=rules.sticky_probability,
        full_action_space=full_action_space,
        autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP,
        **picture,
        stack_num=1,
        frameskip=FRAME_SKIP,
        # ALE draws the number of no-ops below noop_max.
        noop_max=rules.max_noop_frames + 1,
        # If true, a life loss would set `terminated`, and only lives == 0 would mark a game over,
        # which fails in Alien and Chopper Command, where lives stay above 0 to the end.
        life_loss_info=False,
        reward_clipping=False,
        use_fire_reset=False,
    )


def _count_cores() -> int:
    """Cores this process may use, which are fewer than the machine's under a scheduler."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_game(game: str, key: str) -> None:
    """Raises ConfigError, naming the config's key, if there is no such game."""
    known = sorted(set(roms.get_all_rom_ids()) - _UNSUPPORTED_ROMS)
    if game not in known:
        close = difflib.get_close_matches(game.lower(), known) or ["pong", "breakout"]
        raise checks.ConfigError(
            f"{key} = {game!r}: unknown game; expected a ROM of ale_py in snake_case, "
            f"such as {', '.join(close)}"
        )

"""Evaluation: an agent with fixed parameters plays whole episodes in fresh environments."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from agents import base as agents_base
from core import progress
from envs import base as envs_base
from training.acting import choosing
from training.learning import replay_learner
from training.system import stopping

# Steps of training; an evaluation has none.
_NO_STEPS = np.int32(0)


class Evaluator:
    """Plays episodes with one agent; compiled once, used for any parameters."""

    def __init__(self, agent: agents_base.Agent, frame_stack: int, max_episode_frames: int):
        """An evaluator of an agent.

        Args:
          agent: who plays.
          frame_stack: frames in an observation it sees; 0: observations are not frames.
          max_episode_frames: cut-off, as an episode might never end.
        """
        self._frame_stack = frame_stack
        self._max_episode_frames = max_episode_frames
        self.act = choosing.make_act(agent, "evaluation", frame_stack)

    def play(
        self,
        params: Any,
        chosen: envs_base.Settings,
        num_envs: int,
        num_episodes: int,
        seed: int,
        stop: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] | None = None,
    ) -> list[envs_base.Episode]:
        """Plays `num_episodes` episodes, evenly over the environments (to within one).

        A fixed number in each: counting whichever end first would favour short episodes.

        Args:
          params: the network's parameters of one seed.
          chosen: the environment's settings.
          num_envs: environments; never more than episodes.
          num_episodes: in all.
          seed: of the environments and of the agent's noise.
          stop: whether to give up; asked before every step.
          say: gets the lines of the progress; None: see `Progress`.

        Returns:
          The episodes by environment, in order of their end; returns unclipped, lengths in
          frames. Cut episodes have the return and length so far.

        Raises:
          ConfigError: if the environment has no returns.
          stopping.Stopped: `stop` said so.
        """
        envs_base.check_returns(chosen, f"{num_episodes} episodes")
        num_envs = min(num_envs, num_episodes)
        environment = envs_base.make(chosen, num_envs, seed)
        name = envs_base.task_name(chosen)
        record = _Record(num_envs, num_episodes, self._max_episode_frames)
        shown = progress.Progress(num_episodes, "episode", name=f"evaluation of {name}", say=say)
        try:
            rng = jax.random.key(seed)
            while record.missing.any():
                rng = self._play_until_cut(params, environment, record, rng, stop, shown)
        finally:
            shown.close()
            environment.close()
        if record.num_cut:
            logging.warning(
                "evaluation of %s: %d of %d episodes were cut after evaluation.max_episode_frames "
                "= %d",
                name,
                record.num_cut,
                num_episodes,
                self._max_episode_frames,
            )
        return sorted(record.episodes, key=lambda episode: episode.env_id)

    def _play_until_cut(
        self,
        params: Any,
        environment: envs_base.VectorEnvironment,
        record: "_Record",
        rng: jax.Array,
        stop: Callable[[], bool],
        shown: progress.Progress,
    ) -> jax.Array:
        """Resets all environments; plays until each is done or was cut."""
        timestep = environment.reset()
        stack = replay_learner.empty_stack(jnp.asarray(timestep.observation), self._frame_stack)
        record.begin()
        while record.is_playing.any():
            if stop():
                raise stopping.Stopped("asked to end during an evaluation")
            is_first = np.asarray(timestep.first())
            rng, stack, actions = self.act(
                params, rng, stack, timestep.observation, is_first, _NO_STEPS
            )
            timestep = environment.step(np.asarray(actions))
            record.add(timestep, environment.finished_episodes(), environment.frames_per_step)
            shown.advance(len(record.episodes))
        return rng


class _Record:
    """The episodes of an evaluation, and how many each environment has yet to play."""

    def __init__(self, num_envs: int, num_episodes: int, max_frames: int):
        self.episodes: list[envs_base.Episode] = []
        self.num_cut = 0
        self.missing = np.full(num_envs, num_episodes // num_envs)
        self.missing[: num_episodes % num_envs] += 1
        self._max_frames = max_frames

    def begin(self) -> None:
        """Every environment starts an episode."""
        self.is_playing = self.missing > 0
        self._returns = np.zeros(len(self.missing))
        self._frames = np.zeros(len(self.missing), np.int64)

    def add(self, timestep: Any, finished: list[envs_base.Episode], frames_per_step: int) -> None:
        """Adds a step of all. An environment that is cut plays no more until all begin again."""
        is_first = timestep.first()
        self._returns = np.where(is_first, 0.0, self._returns + timestep.reward)
        self._frames = np.where(is_first, 0, self._frames + frames_per_step)
        for episode in finished:
            self._take(episode)
        is_endless = (self._frames >= self._max_frames) & ~timestep.last() & self.is_playing
        for env_id in np.flatnonzero(is_endless).tolist():
            length = int(self._frames[env_id])
            self._take(envs_base.Episode(env_id, float(self._returns[env_id]), length))
            self.num_cut += 1
            self.is_playing[env_id] = False

    def _take(self, episode: envs_base.Episode) -> None:
        if self.is_playing[episode.env_id]:
            self.episodes.append(episode)
            self.missing[episode.env_id] -= 1
            self.is_playing[episode.env_id] = self.missing[episode.env_id] > 0


def seed(run_seed: int, k: int, frames: int, period_frames: int) -> int:
    """Seed for evaluating a run's k-th seed; no training environment has it.

    All runs of a seed share it within a period, however they are distributed.

    Args:
      run_seed: of the run.
      k: which of its seeds.
      frames: of the run.
      period_frames: between two evaluations; 0: only those that are asked for.
    """
    number = frames // max(1, period_frames)
    sequence = np.random.SeedSequence([run_seed, k, number], spawn_key=(1 << 20,))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)

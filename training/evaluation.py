"""Evaluation: an agent with fixed parameters plays whole episodes in fresh environments."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import base as agents_base
from envs import base as envs_base
from training import acting
from training import learner as learner_lib


class Evaluator:
    """Plays episodes with one agent; compiled once, used for any parameters."""

    def __init__(self, agent: agents_base.Agent, frame_stack: int):
        """An evaluator of `agent`, which sees stacks of `frame_stack` frames (0: no stacks)."""
        self._frame_stack = frame_stack
        self.act = acting.make_act(agent.act_in_evaluation, frame_stack)

    def play(
        self,
        params: Any,
        config: Mapping[str, Any],
        num_envs: int,
        num_episodes: int,
        seed: int,
    ) -> list[envs_base.Episode]:
        """Plays `num_episodes` episodes, as many in each lane as in the others (or one more).

        A fixed number per lane: counting whichever end first would favour short episodes.

        Args:
          params: the network's parameters of one seed.
          config: the environment's section.
          num_envs: lanes; never more than episodes.
          num_episodes: in all.
          seed: of the environments and of the agent's noise.

        Returns:
          The episodes by lane, in order of their end; returns unclipped, lengths in frames.
        """
        num_envs = min(num_envs, num_episodes)
        environment = envs_base.make(config, num_envs, seed)
        try:
            return self._play(params, environment, num_episodes, jax.random.key(seed))
        finally:
            environment.close()

    def _play(
        self,
        params: Any,
        environment: envs_base.VectorEnvironment,
        num_episodes: int,
        rng: jax.Array,
    ) -> list[envs_base.Episode]:
        num_envs = environment.num_envs
        missing = np.full(num_envs, num_episodes // num_envs)
        missing[: num_episodes % num_envs] += 1
        episodes: list[envs_base.Episode] = []
        timestep = environment.reset()
        stack = learner_lib.empty_stack(jnp.asarray(timestep.observation), self._frame_stack)
        while missing.any():
            is_first = np.asarray(timestep.first())
            rng, stack, actions = self.act(params, rng, stack, timestep.observation, is_first)
            timestep = environment.step(np.asarray(actions))
            for episode in environment.finished_episodes():
                if missing[episode.lane]:
                    missing[episode.lane] -= 1
                    episodes.append(episode)
        return sorted(episodes, key=lambda episode: episode.lane)


def seed(run_seed: int, k: int, frames: int) -> int:
    """Of an evaluation of a run's k-th seed: no lane has it, and a resumed run draws it again."""
    sequence = np.random.SeedSequence([run_seed, k, frames], spawn_key=(1 << 20,))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)

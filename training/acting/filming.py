"""Films an agent while it plays an episode."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from core import progress
from envs import base as envs_base
from training.acting import film as film_lib
from training.acting import policy as policy_lib
from training.learning import replay_learner
from training.system import stopping


def record(
    player: policy_lib.Policy,
    output: Path,
    seed: int,
    max_steps: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Writes a film of one episode and returns its return as far as shown.

    Args:
      player: who plays.
      output: the film, .mp4 or .gif, written whole or not at all; its directory must exist.
      seed: of the environment and of the agent's noise.
      max_steps: agent steps at most; None: the default of such a film.
      stop: whether to give up; asked before every step.

    Raises:
      ConfigError: if the environment has no screen, or the file can't be written.
      stopping.Stopped: `stop` said so.
    """
    num_steps = film_lib.check(output, max_steps)
    filmed = envs_base.make_filmed(player.environment, seed)
    try:
        with film_lib.Film(output, filmed.frames_per_second) as film:
            return _play(player, filmed, film, seed, num_steps, stop)
    finally:
        filmed.environment.close()


def _play(
    player: policy_lib.Policy,
    filmed: envs_base.Filmed,
    film: film_lib.Film,
    seed: int,
    num_steps: int,
    stop: Callable[[], bool],
) -> float:
    """Films one episode of one environment; its return."""
    evaluator, frame_stack = player.evaluator(), player.settings.transition.frame_stack
    environment = filmed.environment
    timestep = environment.reset()
    film.add(filmed.screen(None))
    stack = replay_learner.empty_stack(jax.numpy.asarray(timestep.observation), frame_stack)
    rng, total = jax.random.key(seed), 0.0
    for _ in progress.track(range(num_steps), "step"):
        if stop():
            raise stopping.Stopped("asked to end while filming")
        observation, is_first = timestep.observation, np.asarray(timestep.first())
        rng, stack, action = evaluator.act(
            player.params, rng, stack, observation, is_first, np.int32(0)
        )
        timestep = environment.step(np.asarray(action))
        film.add(filmed.screen(np.asarray(action)))
        total += float(timestep.reward[0])
        if np.asarray(timestep.last())[0]:
            break
    return total

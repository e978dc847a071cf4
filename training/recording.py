"""Films an agent: plays an episode, then plays its actions again with the screen on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import jax
import numpy as np

from configs import checks, modules
from envs import base as envs_base
from training import learner as learner_lib
from training import policy as policy_lib

_SCALE = 3
# Four emulator frames of 1/60 s to an agent step.
_FRAMES_PER_SECOND = 15


def record(player: policy_lib.Policy, output: Path, seed: int, max_steps: int) -> float:
    """Writes an mp4 film of one episode and returns the episode's return so far as shown.

    Args:
      player: who plays.
      output: the film; its directory must exist.
      seed: of the environment and of the agent's noise.
      max_steps: agent steps at most.

    Raises:
      ConfigError: if the environment has no screen, or the file can't be written.
    """
    config = player.environment
    module = modules.find("envs", config.module, "environment.module")
    if not hasattr(module, "screens"):
        raise checks.ConfigError(f"environment.module = {config.module!r}: has no screen to film")
    if output.suffix != ".mp4" or not output.parent.is_dir():
        raise checks.ConfigError(
            f"output = {str(output)!r}: expected a file .mp4 in a directory that exists"
        )
    actions, episode_return = _play(player, config, seed, max_steps)
    write_film(output, module.screens(config, seed, actions), _FRAMES_PER_SECOND)
    return episode_return


def write_film(output: Path, screens: Iterable[np.ndarray], frames_per_second: int) -> None:
    """Encodes RGB pictures uint8 [H, W, 3] as H.264, enlarged without smoothing."""
    writer: Any = None
    try:
        for screen in screens:
            picture = np.ascontiguousarray(screen.repeat(_SCALE, 0).repeat(_SCALE, 1))
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                # Sizes need not be multiples of 16, only even, which H.264 wants.
                writer = imageio_ffmpeg.write_frames(
                    str(output), size, fps=frames_per_second, macro_block_size=2
                )
                writer.send(None)
            writer.send(picture)
    finally:
        if writer is not None:
            writer.close()


def _play(
    player: policy_lib.Policy, config: Any, seed: int, max_steps: int
) -> tuple[list[int], float]:
    """The actions of one episode of one lane, and its return."""
    evaluator, frame_stack = player.evaluator(), player.config.agent.frame_stack
    environment = envs_base.make(config, 1, seed)
    try:
        timestep = environment.reset()
        stack = learner_lib.empty_stack(jax.numpy.asarray(timestep.observation), frame_stack)
        rng, actions, total = jax.random.key(seed), [], 0.0
        while len(actions) < max_steps and not np.asarray(timestep.last())[0]:
            observation, is_first = timestep.observation, np.asarray(timestep.first())
            rng, stack, action = evaluator.act(player.params, rng, stack, observation, is_first)
            actions.append(int(action[0]))
            timestep = environment.step(np.asarray(action))
            total += float(timestep.reward[0])
        return actions, total
    finally:
        environment.close()

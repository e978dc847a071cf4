"""An agent as a snapshot left it, ready to play."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from dm_env import specs

from agents import base as agents_base
from core import checks
from envs import base as envs_base
from training import run_directory
from training.acting import evaluation
from training.checkpoints import snapshot, state_arrays


class Policy(NamedTuple):
    """An agent with parameters.

    Attributes:
      config: of the run it comes from.
      agent: the algorithm.
      params: of one seed.
      frames: how many it was trained for.
      environment: the section of the environment it was trained in last; of a sequence, the game.
    """

    config: ml_collections.ConfigDict
    agent: agents_base.Agent
    params: Any
    frames: int
    environment: ml_collections.ConfigDict

    def evaluator(self) -> evaluation.Evaluator:
        """Plays episodes with this agent."""
        max_frames = self.config.evaluation.get("max_episode_frames", evaluation.MAX_EPISODE_FRAMES)
        return evaluation.Evaluator(self.agent, self.config.agent.frame_stack, max_frames)


def load(run_dir: Path, frames: int | None = None, seed_index: int = 0) -> Policy:
    """Loads the policy of a run's snapshot; the replay is not read.

    Args:
      run_dir: the run's directory.
      frames: which snapshot, by its frame count; None for the newest whole one.
      seed_index: which of the run's seeds, from 0.

    Raises:
      ConfigError: if there is no such run, snapshot or seed.
      SnapshotError: if the snapshot is damaged or of another shape.
      NotFiniteError: if a parameter is not finite.
    """
    config = run_directory.read_config(run_dir)
    if not 0 <= seed_index < config.num_seeds:
        raise checks.ConfigError(
            f"seed_index = {seed_index}: expected one of the run's {config.num_seeds} seeds, from 0"
        )
    path = _choose(run_dir / "snapshots", frames)
    counters = snapshot.verify(path)
    observation_spec, action_spec = environment_specs(config)
    agent = agents_base.make(config, action_spec)
    shapes = param_shapes(agent, config, observation_spec)
    arrays = snapshot.read_arrays(path, "learner")
    params = state_arrays.params_of_seed(path, arrays, shapes, seed_index)
    of_seed = {name: array[None] for name, array in state_arrays.to_arrays(params).items()}
    state_arrays.check_finite(of_seed, f"{path}: params", config.seed + seed_index)
    environment: Any = envs_base.task_config(config.environment, counters["task"])
    return Policy(config, agent, params, counters["frames"], environment)


def _choose(directory: Path, frames: int | None) -> Path:
    saved = snapshot.list_saved(directory)
    chosen = [path for path in saved if frames is None or int(path.name) == frames]
    if not chosen:
        listed = ", ".join(str(int(path.name)) for path in saved) or "none"
        raise checks.ConfigError(f"snapshot = {frames}: expected one of {directory}: {listed}")
    return chosen[0]


def environment_specs(config: ml_collections.ConfigDict) -> tuple[specs.Array, specs.DiscreteArray]:
    """One lane's newest observation, and its action."""
    environment = envs_base.make(config.environment, 1, config.seed)
    try:
        return environment.observation_spec(), environment.action_spec()
    finally:
        environment.close()


def observation_shape(config: ml_collections.ConfigDict, spec: specs.Array) -> tuple[int, ...]:
    """The shape [1, ...] of what the agent sees of one lane: a stack of frames, or a vector."""
    frame_stack = config.agent.frame_stack
    return (1, frame_stack, *spec.shape) if frame_stack else (1, *spec.shape)


def param_shapes(
    agent: agents_base.Agent, config: ml_collections.ConfigDict, spec: specs.Array
) -> Any:
    """Shapes and types of the parameters that the agent has for observations of the spec."""
    shape = observation_shape(config, spec)
    observation = jax.ShapeDtypeStruct(shape, np.dtype(spec.dtype))
    return jax.eval_shape(lambda o: agent.init(jax.random.key(0), o), observation)

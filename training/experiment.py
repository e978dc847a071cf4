"""Builds the components of a run from its configuration, checking every key first."""

from collections.abc import Callable
from typing import Any, NamedTuple

import dm_env
import jax
import ml_collections
import numpy as np
import optax
from dm_env import specs

from agents import base as agents_base
from core import checks
from envs import base as envs_base
from plasticity import projection, schedules
from replay.device import ring
from training.acting import choosing, evaluation
from training.learning import learner as learner_lib
from training.learning import optimizer
from training.learning import task_switch as task_switch_lib
from training.learning import update as update_lib
from training.system import memory, platform

_CHECKS = {
    "": {
        "name": checks.text(),
        "seed": checks.integer(0, 2**31 - 1),
        "num_seeds": checks.integer(1),
        "num_envs": checks.integer(1),
        "platform": checks.one_of("auto", "cpu", "gpu"),
        "precision": checks.one_of(*platform.PRECISIONS),
        "num_frames": checks.integer(1),
        "num_passes": checks.integer(1),
        "environment": checks.anything(),
        "agent": checks.anything(),
        "network": checks.anything(),
        "replay": checks.anything(),
        "distributed": checks.anything(),
        "optimizer": checks.anything(),
        "training": checks.anything(),
        "task_switch": checks.anything(),
        "evaluation": checks.anything(),
        "log": checks.anything(),
        "snapshot": checks.anything(),
    },
    "training": {
        "update_period_frames": checks.integer(1),
        "target_update_period_frames": checks.integer(1),
    },
    "evaluation": {
        "period_frames": checks.integer(0),
        "episodes": checks.integer(1),
        "num_envs": checks.integer(1),
        "max_episode_frames": checks.integer(1),
        "all_games": checks.boolean(),
    },
    "log": {
        "period_frames": checks.integer(1),
        "layers_period_frames": checks.integer(0),
        "tensorboard": checks.boolean(),
    },
    "snapshot": {"period_frames": checks.integer(1), "keep": checks.integer(1)},
    "network": {
        "torso": checks.anything(),
        "norm": checks.anything(),
        "head": checks.anything(),
    },
}


class Experiment(NamedTuple):
    """The components of a run.

    Attributes:
      environment: num_seeds * num_envs lanes; seed k has the k-th num_envs of them.
      learner: joins agent, replay and optimizer.
      evaluator: plays whole episodes.
      task_switch: what happens when a sequence goes to its next game.
      frames_per_task: after which it does; 0 for an environment of one task.
    """

    environment: envs_base.VectorEnvironment
    learner: learner_lib.Learner
    evaluator: evaluation.Evaluator
    task_switch: task_switch_lib.TaskSwitch
    frames_per_task: int


def verify(config: ml_collections.ConfigDict) -> None:
    """Checks the sections that no single component owns; raises ConfigError."""
    for section, section_checks in _CHECKS.items():
        part: Any = config[section] if section else config
        checks.verify(section or "config", part, section_checks)
    training = config.training
    if training.target_update_period_frames % training.update_period_frames:
        raise checks.ConfigError(
            f"training.target_update_period_frames = {training.target_update_period_frames}: "
            f"expected a multiple of update_period_frames = {training.update_period_frames}"
        )


def make(config: ml_collections.ConfigDict) -> Experiment:
    """Builds all components of a resolved config; raises ConfigError for a bad key or value."""
    verify(config)
    num_lanes = config.num_seeds * config.num_envs
    environment = envs_base.make(config.environment, num_lanes, config.seed)
    try:
        return _assemble(config, environment)
    except BaseException:
        environment.close()
        raise


def _assemble(
    config: ml_collections.ConfigDict, environment: envs_base.VectorEnvironment
) -> Experiment:
    update = make_update(config, environment.action_spec())
    replay = ring.make(
        config.replay,
        environment.observation_spec(),
        config.num_envs,
        config.agent.frame_stack,
        config.agent.n_step,
        config.agent.discount,
        config.num_seeds,
    )
    memory.check_replay(
        memory.replay_bytes(replay, config.num_seeds),
        config.replay.capacity,
        f"num_seeds = {config.num_seeds}",
    )
    learner = learner_lib.Learner(
        update=update,
        replay=replay,
        importance=make_importance(config),
        num_seeds=config.num_seeds,
        num_envs=config.num_envs,
        frame_stack=config.agent.frame_stack,
        batch_size=config.replay.batch_size,
        max_abs_reward=config.agent.max_abs_reward,
    )
    evaluator = evaluation.Evaluator(
        update.agent, config.agent.frame_stack, config.evaluation.max_episode_frames
    )
    switch_settings = task_switch_lib.SwitchSettings.from_config(config.task_switch)
    task_switch = task_switch_lib.TaskSwitch(learner, switch_settings)
    frames = frames_per_task(config, environment.frames_per_step)
    experiment = Experiment(environment, learner, evaluator, task_switch, frames)
    check_shapes(experiment)
    return experiment


def make_update(
    config: ml_collections.ConfigDict, action_spec: specs.DiscreteArray
) -> update_lib.Update:
    """The agent with its optimizer and projection; raises ConfigError for a bad key or value."""
    training = config.training
    return update_lib.Update(
        agent=agents_base.make(config, action_spec),
        optimizer=optimizer.make(config.optimizer, training.update_period_frames),
        projection=projection.ProjectionSettings.from_config(config.optimizer.projection),
        max_priority=config.replay.max_priority,
        target_period_updates=training.target_update_period_frames // training.update_period_frames,
    )


def make_learning_rate(config: ml_collections.ConfigDict) -> optax.Schedule:
    """The learning rate by the number of updates since the schedule began."""
    return schedules.make_schedule(
        config.optimizer.schedule,
        config.optimizer.learning_rate,
        config.training.update_period_frames,
    )


def make_layer_rates(config: ml_collections.ConfigDict) -> Callable[[int, str], float]:
    """The learning rate of a layer: (updates since the schedule began, its name) -> the rate."""
    return schedules.make_layer_rates(
        config.optimizer.schedule,
        config.optimizer.learning_rate,
        config.training.update_period_frames,
    )


def make_importance(config: ml_collections.ConfigDict) -> update_lib.ImportanceSchedule:
    """The importance weights' exponent; raises ConfigError if learning would begin too early."""
    replay = config.replay
    least = config.num_envs * (config.agent.n_step + config.agent.frame_stack + 1)
    if replay.min_size < least:
        raise checks.ConfigError(
            f"replay.min_size = {replay.min_size}: expected at least {least} with num_envs = "
            f"{config.num_envs}, so that there is something to sample"
        )
    return update_lib.ImportanceSchedule(
        begin=replay.importance_exponent,
        end=replay.importance_exponent_end,
        begin_steps=replay.min_size,
        end_steps=replay.importance_exponent_end_steps,
    )


def frames_per_task(config: ml_collections.ConfigDict, frames_per_step: int) -> int:
    """Frames of one seed in each game of a sequence; 0 if there is one task only.

    Raises:
      ConfigError: if they are not a multiple of the frames of a step.
    """
    frames = config.environment.get("frames_per_game", 0)
    step = config.num_envs * frames_per_step
    if frames % step:
        raise checks.ConfigError(
            f"environment.frames_per_game = {frames}: expected a multiple of {step}, the frames "
            f"of a step of num_envs = {config.num_envs} environments"
        )
    return frames


def observed(timestep: dm_env.TimeStep, learner: learner_lib.Learner) -> learner_lib.Observed:
    """A time step of all lanes as the learner's arrays [K, N, ...], its rewards clipped."""

    def per_seed(x) -> np.ndarray:
        x = np.asarray(x)
        return x.reshape((learner.num_seeds, -1, *x.shape[1:]))

    return learner_lib.Observed(
        observation=per_seed(timestep.observation),
        is_first=per_seed(timestep.first()),
        is_last=per_seed(timestep.last()),
        reward=per_seed(choosing.clip_rewards(timestep.reward, learner.max_abs_reward)),
        discount=per_seed(timestep.discount),
    )


def state_shapes(experiment: Experiment) -> learner_lib.LearnerState:
    """The learner's state as shapes and types, without making it."""
    learner, spec = experiment.learner, experiment.environment.observation_spec()
    shape = (learner.num_seeds, learner.num_envs, *spec.shape)
    observation = jax.ShapeDtypeStruct(shape, spec.dtype)
    return jax.eval_shape(lambda o: learner.init(0, o), observation)


def metric_names(experiment: Experiment) -> list[str]:
    """The names of the metrics that `learn` returns."""
    _, metrics = experiment.learner.learn.eval_shape(state_shapes(experiment), 1)
    return list(metrics)


def check_shapes(experiment: Experiment) -> None:
    """Traces the initialization, so that a network that can't be built fails before the start.

    Raises:
      ConfigError: if it can't.
    """
    try:
        state_shapes(experiment)
    except checks.ConfigError:
        raise
    except Exception as error:  # whatever the code of a network raises
        spec = experiment.environment.observation_spec()
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise checks.ConfigError(
            f"network: can't be built for observations {spec.dtype}{list(spec.shape)} with "
            f"agent.frame_stack = {experiment.learner.frame_stack}: {reason}"
        ) from error

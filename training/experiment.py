"""Builds the components of a run from its settings."""

import dataclasses
from typing import NamedTuple

import dm_env
import jax
import numpy as np
from dm_env import specs

from agents import base as agents_base
from agents import optimizers
from core import checks, formulations, plugins
from envs import base as envs_base
from replay import base as replay_base
from replay.device import prioritized
from training import run_settings
from training.acting import choosing, evaluation
from training.learning import (
    prioritizing,
    probe_measurements,
    replay_learner,
    task_switching,
)
from training.system import memory


class Experiment(NamedTuple):
    """The components of a run.

    Attributes:
      environment: num_seeds * num_envs environments; seed k has the k-th num_envs of them.
      learner: joins agent and replay.
      measurements: of its units, ranks and network.
      evaluator: plays whole episodes.
      task_switch: what happens when a sequence goes to its next task.
    """

    environment: envs_base.VectorEnvironment
    learner: replay_learner.Learner
    measurements: probe_measurements.ProbeMeasurements
    evaluator: evaluation.Evaluator
    task_switch: task_switching.TaskSwitch


def make(settings: run_settings.RunSettings) -> Experiment:
    """Builds all components; raises ConfigError for settings that don't fit each other."""
    num_envs = settings.num_seeds * settings.num_envs
    environment = envs_base.make(settings.environment, num_envs, settings.seed)
    try:
        return _assemble(settings, environment)
    except BaseException:
        environment.close()
        raise


def _assemble(
    settings: run_settings.RunSettings, environment: envs_base.VectorEnvironment
) -> Experiment:
    check_filling(settings)
    learner = make_learner(settings, environment.observation_spec(), environment.action_spec())
    check_measurements(settings, learner.agent)
    memory.check_replay(
        memory.replay_bytes(learner.replay, settings.num_seeds),
        settings.replay.capacity,
        f"num_seeds = {settings.num_seeds}",
    )
    evaluator = evaluation.Evaluator(
        learner.agent, settings.transition.frame_stack, settings.evaluation.max_episode_frames
    )
    task_switch = task_switching.TaskSwitch(learner, settings.task_switch)
    measurements = probe_measurements.ProbeMeasurements(learner, settings.log.probe_size)
    experiment = Experiment(environment, learner, measurements, evaluator, task_switch)
    check_shapes(experiment, settings)
    return experiment


def make_learner(
    settings: run_settings.RunSettings,
    observation_spec: specs.Array,
    action_spec: specs.DiscreteArray,
) -> replay_learner.Learner:
    """The learner for environments with these observations and actions; allocates nothing.

    Raises:
      ConfigError: for settings that don't fit each other.
    """
    return replay_learner.Learner(
        agent=make_agent(settings, observation_spec, action_spec),
        replay=make_replay(settings, observation_spec),
        prioritizing=prioritizing.make(settings.replay),
        num_seeds=settings.num_seeds,
        num_envs=settings.num_envs,
        frame_stack=settings.transition.frame_stack,
        batch_size=settings.replay.batch_size,
        max_abs_reward=settings.transition.max_abs_reward,
        keeps_loop=settings.sections.formulation == formulations.COMPUTE_ONCE,
    )


def make_agent(
    settings: run_settings.RunSettings,
    observation_spec: specs.Array,
    action_spec: specs.DiscreteArray,
) -> agents_base.Agent:
    """The agent for one environment's observations and actions.

    Raises:
      ConfigError: for settings that don't fit each other, or a network that can't be built.
    """
    optimizers.check_schedules(settings.optimizer, settings.training.update_period_frames)
    _check_transitions(settings)
    problem = agents_base.Problem(
        observations=observations_seen(settings, observation_spec),
        num_actions=action_spec.num_values,
        update_period_frames=settings.training.update_period_frames,
        target_period_updates=settings.training.target_period_updates,
    )
    try:
        return agents_base.make(settings.sections, problem)
    except checks.ConfigError:
        raise
    except Exception as error:  # whatever the code of a network raises
        raise _unbuildable(settings, observation_spec, error) from error


def _check_transitions(settings: run_settings.RunSettings) -> None:
    """Raises ConfigError if the transitions are not what the agent takes them for."""
    module = plugins.find("agents", settings.agent.module, "agent.module")
    meaning = envs_base.meaning_of_rewards(settings.environment)
    expected = getattr(module, "REWARDS_ARE", meaning)
    if meaning != expected:
        raise checks.ConfigError(
            f"environment.module = {settings.environment.module!r}: its rewards are {meaning}: "
            f"expected {expected}, with agent.module = {settings.agent.module!r}"
        )
    for key, value in getattr(module, "NEEDS", {}).items():
        found = getattr(settings.transition, key)
        if found != value:
            raise checks.ConfigError(
                f"transition.{key} = {found!r}: expected {value!r} with agent.module = "
                f"{settings.agent.module!r}"
            )


def observations_seen(
    settings: run_settings.RunSettings, spec: specs.Array
) -> jax.ShapeDtypeStruct:
    """Shape and type [1, ...] of what the agent sees of one environment: a stack, or a vector."""
    frame_stack = settings.transition.frame_stack
    shape = (1, frame_stack, *spec.shape) if frame_stack else (1, *spec.shape)
    return jax.ShapeDtypeStruct(shape, np.dtype(spec.dtype))


def make_replay(
    settings: run_settings.RunSettings, observation_spec: specs.Array
) -> replay_base.Replay:
    """The replay of each seed; raises ConfigError if its capacity does not fit."""
    module = plugins.find("replay.device", settings.replay.module, "replay.module")
    spec = replay_base.TransitionSpec.make(settings.transition, observation_spec, settings.num_envs)
    replay = module.make(settings.replay, spec, settings.num_seeds)
    if isinstance(replay, prioritized.PrioritizedReplay):
        return dataclasses.replace(replay, formulation=settings.sections.formulation)
    return replay


def check_measurements(settings: run_settings.RunSettings, agent: agents_base.Agent) -> None:
    """Raises ConfigError if units or ranks are to be measured that the agent does not show."""
    for key, measure in (
        ("units_period_frames", agent.measure_units),
        ("ranks_period_frames", agent.measure_ranks),
        ("network_period_frames", agent.measure_network),
    ):
        period = getattr(settings.log, key)
        if period and measure is None:
            raise checks.ConfigError(
                f"log.{key} = {period}: expected 0, as agent.module = "
                f"{settings.agent.module!r} does not show its units"
            )


def check_filling(settings: run_settings.RunSettings) -> None:
    """Raises ConfigError if learning would begin before there is anything to sample."""
    least = least_filling(settings)
    if settings.replay.min_size < least:
        raise checks.ConfigError(
            f"replay.min_size = {settings.replay.min_size}: expected at least {least} with "
            f"num_envs = {settings.num_envs}, so that there is something to sample"
        )


def least_filling(settings: run_settings.RunSettings) -> int:
    """The least replay.min_size with which there is something to sample."""
    transition = settings.transition
    return settings.num_envs * (transition.n_step + transition.frame_stack + 1)


def observed(timestep: dm_env.TimeStep, learner: replay_learner.Learner) -> replay_learner.Observed:
    """A time step of all environments as the learner's arrays [K, N, ...], its rewards clipped."""

    def per_seed(x) -> np.ndarray:
        x = np.asarray(x)
        return x.reshape((learner.num_seeds, -1, *x.shape[1:]))

    return replay_learner.Observed.of(
        observation=per_seed(timestep.observation),
        is_first=per_seed(timestep.first()),
        is_last=per_seed(timestep.last()),
        reward=per_seed(choosing.clip_rewards(timestep.reward, learner.max_abs_reward)),
        discount=per_seed(timestep.discount),
    )


def state_shapes(experiment: Experiment) -> replay_learner.LearnerState:
    """The learner's state as shapes and types, without making it."""
    return learner_shapes(experiment.learner, experiment.environment.observation_spec())


def learner_shapes(
    learner: replay_learner.Learner, observation_spec: specs.Array
) -> replay_learner.LearnerState:
    """The same for one environment's observations."""
    shape = (learner.num_seeds, learner.num_envs, *observation_spec.shape)
    observation = jax.ShapeDtypeStruct(shape, observation_spec.dtype)
    return jax.eval_shape(lambda o: learner.init(0, o), observation)


def metric_names(experiment: Experiment) -> list[str]:
    """The names of the metrics that `learn` returns."""
    _, metrics = experiment.learner.learn.eval_shape(state_shapes(experiment), 1)
    return list(metrics)


def check_shapes(experiment: Experiment, settings: run_settings.RunSettings) -> None:
    """Traces init and an update, so that what can't be built fails before the start.

    Raises:
      ConfigError: if it can't, or the replay asks for priorities that the agent does not give.
    """
    spec = experiment.environment.observation_spec()
    try:
        names = metric_names(experiment)
    except checks.ConfigError:
        raise
    except Exception as error:  # whatever the code of a network raises
        raise _unbuildable(settings, spec, error) from error
    prioritizing.check_agent(settings, names)


def _unbuildable(
    settings: run_settings.RunSettings, spec: specs.Array, error: Exception
) -> checks.ConfigError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return checks.ConfigError(
        f"network: can't be built for observations {spec.dtype}{list(spec.shape)} with "
        f"transition.frame_stack = {settings.transition.frame_stack}: {reason}"
    )

"""The role `actor`: a vector environment and a batched policy that fill the replay.

A restarted actor continues its journal and its counts. Its episodes begin anew; of those cut
short, up to n_step + chunk_length steps per environment are counted but have no transitions.
"""

import time
from collections.abc import Callable
from typing import Any

import dm_env
import jax
import numpy as np
from absl import logging

from cluster import context
from cluster.messages import learner_link, messages
from cluster.roles import actor_journals
from core import finite
from envs import base as envs_base
from replay import base as replay_base
from replay.reverb import connection, tables
from replay.reverb.writing import trajectories
from training import experiment, run_settings
from training.acting import choosing
from training.learning import replay_learner
from training.system import exit_codes, stopping

_STATUS_S = 1.0
_POLL_S = 0.1
_CREDIT_POLL_S = 0.01
# Used as an environment's index: keeps actors' seeds apart from those of environments, evaluations
# and games.
_ACTOR_SEEDS = 1 << 22


def run(role: context.Role) -> int:
    """Plays until the learner says that the run is finished, or until SIGINT or SIGTERM.

    Returns:
      The exit code: 0 if the run is finished, 3 if not, 4 if a reward or an observation was not
      finite.
    """
    with stopping.StopRequest() as stop:
        actor = ActorProcess(role, lambda: stop.requested)
        try:
            actor.play()
        except connection.Stopped:
            pass
        except finite.NotFiniteError as error:
            return context.report_not_finite(error)
        finally:
            actor.close()
    return exit_codes.FINISHED if actor.is_finished else exit_codes.STOPPED


class ActorProcess:
    """One actor's environments, policy, journal and connections: the loop in which it plays."""

    _builder: trajectories.TrajectoryBuilder

    def __init__(self, role: context.Role, stop: Callable[[], bool]):
        """Starts the emulators, and waits for nothing.

        Args:
          role: which actor of which run.
          stop: whether the process was asked to end.
        """
        self._role, self._stop = role, stop
        self._settings = settings = role.settings
        self._journals = actor_journals.ActorJournals(role, self._must_end, self._report_progress)
        new = {"frames": 0, "transitions": 0, "episodes": 0, "starts": 0, "task": 0}
        self._counters = {**new, **self._journals.own.counters}
        self._counters["starts"] += 1
        seed = envs_base.environment_seed(
            settings.seed, _ACTOR_SEEDS + role.index, self._counters["starts"]
        )
        self._environment = envs_base.make(settings.environment, settings.num_envs, seed)
        self._policy = _Policy(settings, self._environment, seed)
        # Of the present step.
        self._task = -1
        self._link = learner_link.LearnerLink(
            role.connect, self._policy.shapes, self._journals.reports.make
        )
        self._status_at, self._status_frames = time.monotonic(), self._counters["frames"]

    @property
    def is_finished(self) -> bool:
        """Whether the learner has said that nothing more is to be played."""
        announcement = self._link.announcement
        return announcement is not None and announcement.is_end(self._role.num_frames)

    @property
    def _announcement(self) -> messages.Announcement:
        """The newest one; exists after `_await_parameters`."""
        announcement = self._link.announcement
        assert announcement is not None
        return announcement

    def _must_end(self) -> bool:
        return self._stop() or self.is_finished

    def play(self) -> None:
        """Plays until it must end.

        Raises:
          connection.Stopped: it must end during a wait.
        """
        self._journals.open()
        self._builder = self._make_builder()
        self._await_parameters()
        timestep = self._begin()
        while not self._must_end():
            self._wait_for_credit()
            if self._announcement.task > self._environment.task:
                timestep = self._environment.next_task()
            self._policy.follow(self._link.parameters)
            actions = self._policy.choose(timestep, self._announcement)
            self._environment.send(actions)
            self._record(timestep, actions)
            # What was left of an earlier task is on its way.
            self._task = self._environment.task
            timestep = self._environment.recv()
            self._count()
            self._journals.serve()
            self._report_progress()

    def _make_builder(self) -> trajectories.TrajectoryBuilder:
        transition = self._settings.transition
        return trajectories.TrajectoryBuilder(
            self._journals.writer,
            tables.TRANSITIONS,
            self._settings.num_envs,
            transition.frame_stack,
            transition.n_step,
            transition.discount,
            self._role.distributed.chunk_length,
        )

    def _await_parameters(self) -> None:
        patience = connection.Patience(self._role.label)
        while self._link.announcement is None:
            if self._must_end():
                raise connection.Stopped("asked to end before there were parameters")
            patience.report("the learner has published no parameters")
            self._report_progress()
            time.sleep(_POLL_S)

    def _begin(self) -> dm_env.TimeStep:
        """The first time step, in the run's present game."""
        environment = self._environment
        timestep = environment.reset()
        while environment.task < self._announcement.task:
            environment.next_task()
            timestep = environment.step(np.zeros(environment.num_envs, np.int32))
        self._task = environment.task
        self._policy.begin(timestep.observation)
        return timestep

    def _wait_for_credit(self) -> None:
        """Waits until the learner lets this actor play on, or go to the next task."""
        if self._may_go_on():
            return
        # The learner counts what is in the journal.
        if self._counters != self._journals.own.counters:
            self._journals.writer.insert([], self._counters)
        patience = connection.Patience(self._role.label)
        self._link.is_awaited = True
        while not self._may_go_on() and not self._must_end():
            patience.report("the learner is behind or down: nothing has been played")
            self._journals.serve()
            self._report_progress()
            time.sleep(_CREDIT_POLL_S)
        self._link.is_awaited = False

    def _may_go_on(self) -> bool:
        announcement = self._announcement
        limit = announcement.limits.get(self._journals.own.journal_id, 0)
        return self._counters["frames"] < limit or announcement.task > self._environment.task

    def _record(self, timestep: Any, actions: Any) -> None:
        """Writes what the step completes, while the emulators work on the next one."""
        clipped: Any = choosing.clip_rewards(
            timestep.reward, self._settings.transition.max_abs_reward
        )
        step = replay_base.Step(
            observation=timestep.observation,
            is_first=timestep.first(),
            is_last=timestep.last(),
            reward=clipped,
            discount=timestep.discount,
            action=actions,
        )
        frames = self._environment.num_envs * self._environment.frames_per_step
        self._counters["frames"] += frames
        self._counters["task"] = self._task
        items = self._builder.add(step, self._announcement.weight)
        size = self._role.distributed.max_unconfirmed
        for begin in range(0, len(items), size):
            part = items[begin : begin + size]
            self._counters["transitions"] += len(part)
            self._journals.writer.insert(part, self._counters)

    def _count(self) -> None:
        for episode in self._environment.finished_episodes():
            self._counters["episodes"] += 1
            played = messages.EpisodeReport(*episode, self._environment.task)
            self._journals.reports.episodes.add(played)

    def _report_progress(self) -> None:
        """Keeps the journals short, and others informed; called about twice a second or more."""
        self._journals.tend(self._task, self._link.announcement)
        now, frames = time.monotonic(), self._counters["frames"]
        if now - self._status_at > _STATUS_S:
            self._role.write_status(
                {
                    "frames": frames,
                    "frames_per_second": (frames - self._status_frames) / (now - self._status_at),
                    "parameter_age_seconds": self._link.parameter_age_s,
                    "pending": self._journals.num_pending,
                }
            )
            self._status_at, self._status_frames = now, frames

    def close(self) -> None:
        """Ends threads, connections and emulators."""
        self._link.close()
        self._journals.close()
        self._environment.close()
        frames = self._counters["frames"]
        logging.info("%s: %d frames in this journal", self._role.label, frames)


class _Policy:
    """A batched policy: the newest parameters, stacked observations, random numbers.

    Attributes:
      shapes: of the parameters.
    """

    _params: Any
    _stack: jax.Array

    def __init__(self, settings: run_settings.RunSettings, environment: Any, seed: int):
        """There are no parameters before `follow`, and no observations before `begin`."""
        self._frame_stack = settings.transition.frame_stack
        self._frames_per_step = settings.frames_per_step
        restarts = settings.task_switch.restart_exploration
        self._frames_per_task = settings.frames_per_task if restarts else 0
        self._act, self.shapes = _make_agent(settings, environment)
        self._rng = jax.random.key(seed)
        self._version = -1

    def begin(self, observation: np.ndarray) -> None:
        """Begins with the first observations [N, ...]."""
        self._stack = replay_learner.empty_stack(jax.numpy.asarray(observation), self._frame_stack)

    def follow(self, newest: messages.Parameters | None) -> None:
        """Adopts the newest parameters, which must exist."""
        assert newest is not None
        if newest.version != self._version:
            self._params, self._version = jax.device_put(newest.params), newest.version

    def choose(self, timestep: Any, run: messages.Announcement) -> np.ndarray:
        """Actions int32 [N] for a step of all environments, where the run stands there."""
        is_first = np.asarray(timestep.first())
        frames = max(0, run.frames - run.task * self._frames_per_task)
        steps = np.int32(frames // self._frames_per_step)
        self._rng, self._stack, actions = self._act(
            self._params, self._rng, self._stack, timestep.observation, is_first, steps
        )
        return np.asarray(actions)


def _make_agent(settings: run_settings.RunSettings, environment: Any) -> tuple[Any, Any]:
    """The acting function and its parameters' shapes."""
    specs = environment.observation_spec(), environment.action_spec()
    agent = experiment.make_agent(settings, *specs)
    act = choosing.make_act(agent, "training", settings.transition.frame_stack)
    return act, agent.param_shapes()

"""The role `actor`: a vector environment and a batched policy that fill the replay.

A restarted actor goes on with its journal and its counts. Its episodes begin anew; of those
that ran, up to n_step + chunk_length steps a lane are counted but have no transitions.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dm_env
import jax
import numpy as np
from absl import logging

from agents import base as agents_base
from cluster import context
from cluster.messages import learner_link, messages
from core import finite
from envs import base as envs_base
from replay import base as replay_base
from replay.reverb import connection, tables
from replay.reverb.writing import journal as journal_lib
from replay.reverb.writing import journaled_writer, trajectories
from training.acting import choosing, policy
from training.learning import learner as learner_lib
from training.system import stopping

_STATUS_S = 1.0
_SYNC_S = 5.0
_POLL_S = 0.1
_CREDIT_POLL_S = 0.01
_MAX_EPISODES = 500
# In place of a lane: keeps actors' seeds apart from those of lanes, evaluations and games.
_ACTOR_SEEDS = 1 << 22


def run(role: context.Role) -> int:
    """Plays until the learner says that the run is finished, or until SIGINT or SIGTERM.

    Returns:
      The exit code: 0 if the run is finished, 3 if not, 4 if a reward or an observation was not
      finite.
    """
    with stopping.StopRequest() as stop:
        actor = Actor(role, lambda: stop.requested)
        try:
            actor.play()
        except connection.Stopped:
            pass
        except finite.NotFiniteError as error:
            return context.report_not_finite(error)
        finally:
            actor.close()
    return context.FINISHED if actor.is_finished else context.STOPPED


class _Told(NamedTuple):
    """Of messages.Report."""

    incarnation: int = 0
    confirmed: int = 0
    task: int = -1


class _UnknownEpisodes:
    """Finished episodes that the learner is not known to have written down; threads share it."""

    def __init__(self, first: int):
        """The next one has number `first`."""
        self._first = first
        self._episodes: list[messages.Episode] = []
        self._lock = threading.Lock()

    def add(self, episode: messages.Episode) -> None:
        with self._lock:
            self._episodes.append(episode)

    def after(self, num_known: int, num_kept: int) -> tuple[int, list[messages.Episode]]:
        """Forgets those with numbers below `num_known`.

        Returns:
          The first number of the others, and those of them with numbers below `num_kept`, which is
          as far as a restarted actor would know of them; no more than fit a small message.
        """
        with self._lock:
            done = min(max(0, num_known - self._first), len(self._episodes))
            self._first += done
            del self._episodes[:done]
            count = min(max(0, num_kept - self._first), _MAX_EPISODES)
            return self._first, self._episodes[:count]


class Actor:
    """One actor's environments, policy, journal and connections."""

    _writer: journaled_writer.JournaledWriter
    _builder: trajectories.TrajectoryBuilder

    def __init__(self, role: context.Role, stop: Callable[[], bool]):
        """Starts the emulators, and waits for nothing.

        Args:
          role: which actor of which run.
          stop: whether the process was asked to end.
        """
        self._role, self._stop = role, stop
        self._config: Any = role.config
        self._journal = self._open_journal(role.journal_dir)
        new = {"frames": 0, "transitions": 0, "episodes": 0, "starts": 0, "task": 0}
        self._counters = {**new, **self._journal.counters}
        self._counters["starts"] += 1
        seed = envs_base.lane_seed(
            self._config.seed, _ACTOR_SEEDS + role.index, self._counters["starts"]
        )
        num_envs = self._config.num_envs
        self._environment = envs_base.make(self._config.environment, num_envs, seed)
        self._rng = jax.random.key(seed)
        self._episodes = _UnknownEpisodes(self._counters["episodes"])
        self._absent = [self._open_journal(path) for path in role.absent_journal_dirs()]
        self._open_writers: list[journaled_writer.JournaledWriter] = []
        # By journal, what the learner is told of its journal.
        self._told: dict[int, _Told] = {}
        # Of the present step.
        self._task = -1
        self._link = learner_link.LearnerLink(self._role.connect, self._make_agent(), self._reports)
        self._synced_at = self._served_at = self._told_at = time.monotonic()
        self._told_frames = self._counters["frames"]

    def _open_journal(self, path: Path) -> journal_lib.Journal:
        segment_bytes = int(self._config.distributed.journal_segment_mb * 2**20)
        return journal_lib.Journal(path, segment_bytes)

    def _make_agent(self) -> Any:
        """Builds the agent; returns the shapes of its parameters."""
        environment, config = self._environment, self._config
        agent = agents_base.make(config, environment.action_spec())
        self._act = choosing.make_act(agent.act, config.agent.frame_stack)
        return policy.param_shapes(agent, config, environment.observation_spec())

    @property
    def is_finished(self) -> bool:
        """Whether the learner has said that nothing more is to be played."""
        status = self._link.status
        return status is not None and status.is_end(self._config.num_frames)

    @property
    def _status(self) -> messages.Status:
        """The newest; from the first parameters on there is one."""
        status = self._link.status
        assert status is not None
        return status

    def _must_end(self) -> bool:
        return self._stop() or self.is_finished

    def play(self) -> None:
        """Plays until there is an end.

        Raises:
          connection.Stopped: it came while something was waited for.
        """
        self._open_writer()
        self._await_parameters()
        timestep = self._begin()
        while not self._must_end():
            self._wait_for_credit()
            if self._status.task > self._environment.task:
                timestep = self._environment.next_task()
            self._follow_parameters()
            actions = self._choose(timestep)
            self._environment.send(actions)
            self._record(timestep, actions)
            # What was left of an earlier task is on its way.
            self._task = self._environment.task
            timestep = self._environment.recv()
            self._count()
            self._serve_idle_writers()
            self._tell()

    def _open(self, journal: journal_lib.Journal) -> journaled_writer.JournaledWriter:
        """A writer for a journal; it sends what the server may lack of that."""
        writer = journaled_writer.JournaledWriter(
            journal,
            self._role.connect,
            self._must_end,
            self._role.label,
            self._config.replay.capacity,
            self._config.distributed.max_unconfirmed,
            while_waiting=self._tell,
        )
        self._open_writers.append(writer)
        return writer

    def _open_writer(self) -> None:
        for journal in self._absent:
            self._open(journal)
        self._writer = self._open(self._journal)
        config = self._config
        self._builder = trajectories.TrajectoryBuilder(
            self._writer,
            tables.TRANSITIONS,
            config.num_envs,
            config.agent.frame_stack,
            config.agent.n_step,
            config.agent.discount,
            config.distributed.chunk_length,
        )

    def _await_parameters(self) -> None:
        patience = connection.Patience(self._role.label)
        while self._link.parameters is None:
            if self._must_end():
                raise connection.Stopped("asked to end before there were parameters")
            patience.report("the learner has published no parameters")
            self._tell()
            time.sleep(_POLL_S)
        self._version = -1

    def _begin(self) -> dm_env.TimeStep:
        """The first time step, of the game that the run is at."""
        environment = self._environment
        timestep = environment.reset()
        while environment.task < self._status.task:
            environment.next_task()
            timestep = environment.step(np.zeros(environment.num_envs, np.int32))
        self._task = environment.task
        observation = jax.numpy.asarray(timestep.observation)
        self._stack = learner_lib.empty_stack(observation, self._config.agent.frame_stack)
        return timestep

    def _wait_for_credit(self) -> None:
        """Waits until the learner lets this actor play on, or go to the next task."""
        if self._may_go_on():
            return
        # The learner reckons with what is in the journal.
        if self._counters != self._journal.counters:
            self._writer.insert([], self._counters)
        patience = connection.Patience(self._role.label)
        self._link.is_awaited = True
        while not self._may_go_on() and not self._must_end():
            patience.report("the learner is behind or down: nothing has been played")
            self._serve_idle_writers()
            self._tell()
            time.sleep(_CREDIT_POLL_S)
        self._link.is_awaited = False

    def _may_go_on(self) -> bool:
        status = self._status
        is_allowed = self._counters["frames"] < status.limits.get(self._journal.journal_id, 0)
        return is_allowed or status.task > self._environment.task

    def _follow_parameters(self) -> None:
        newest = self._link.parameters
        assert newest is not None
        if newest.updates != self._version:
            self._params, self._version = jax.device_put(newest.params), newest.updates

    def _choose(self, timestep: Any) -> np.ndarray:
        is_first = np.asarray(timestep.first())
        self._rng, self._stack, actions = self._act(
            self._params, self._rng, self._stack, timestep.observation, is_first
        )
        return np.asarray(actions)

    def _record(self, timestep: Any, actions: Any) -> None:
        """Writes what the step completes, while the emulators work on the next one."""
        clipped: Any = choosing.clip_rewards(timestep.reward, self._config.agent.max_abs_reward)
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
        items = self._builder.add(step, self._status.weight)
        size = self._config.distributed.max_unconfirmed
        for begin in range(0, len(items), size):
            part = items[begin : begin + size]
            self._counters["transitions"] += len(part)
            self._writer.insert(part, self._counters)

    def _count(self) -> None:
        for episode in self._environment.finished_episodes():
            self._counters["episodes"] += 1
            self._episodes.add(messages.Episode(*episode, self._environment.task))

    def _reports(self, status: messages.Status | None) -> list[messages.Report]:
        """What the link tells the learner; called in its thread."""
        known = status.episodes.get(self._journal.journal_id, 0) if status else 0
        kept = self._journal.counters.get("episodes", 0)
        own = self._report(self._journal, *self._episodes.after(known, kept))
        return [own, *(self._report(journal, 0, []) for journal in self._absent)]

    def _report(
        self, journal: journal_lib.Journal, first: int, episodes: list[messages.Episode]
    ) -> messages.Report:
        told = self._told.get(journal.journal_id, _Told())
        return messages.Report(
            journal_id=journal.journal_id,
            actor=self._role.index,
            frames=journal.counters.get("frames", 0),
            transitions=journal.counters.get("transitions", 0),
            task=told.task,
            confirmed=told.confirmed,
            incarnation=told.incarnation,
            first_episode=first,
            episodes=episodes,
        )

    def _tell(self) -> None:
        """Keeps the journal short, and others informed; called about twice a second or more."""
        now = time.monotonic()
        if now - self._synced_at > _SYNC_S:
            self._synced_at = now
            self._keep_journals_short()
        for writer in self._open_writers:
            self._note_task(writer)
        if now - self._told_at > _STATUS_S:
            frames = self._counters["frames"]
            self._role.write_status(
                {
                    "frames": frames,
                    "frames_per_second": (frames - self._told_frames) / (now - self._told_at),
                    "parameter_age_seconds": self._link.parameter_age_s,
                    "pending": self._num_pending,
                }
            )
            self._told_at, self._told_frames = now, frames

    def _note_task(self, writer: journaled_writer.JournaledWriter) -> None:
        """Has the learner told which task is played, when nothing is left of earlier ones."""
        incarnation = messages.short_incarnation(writer.incarnation)
        told = self._told.get(writer.journal_id, _Told())
        if told.incarnation != incarnation:
            told = _Told(incarnation)
        if writer.is_settled:
            told = told._replace(task=self._task)
        # In one step: another thread reports it.
        self._told[writer.journal_id] = told

    @property
    def _num_pending(self) -> int:
        return sum(writer.num_pending for writer in self._open_writers)

    def _keep_journals_short(self) -> None:
        status = self._link.status
        for writer in self._open_writers:
            try:
                progress = writer.progress()
            except OSError as error:  # a full disk; nothing is dropped that may not be on it
                logging.warning("%s: journal not flushed: %s", self._role.label, error)
                continue
            self._note_task(writer)
            self._told[progress.journal_id] = self._told[progress.journal_id]._replace(
                confirmed=progress.confirmed_through
            )
            if status is not None and progress.journal_id in status.confirmed:
                writer.truncate(status.confirmed[progress.journal_id])

    def _serve_idle_writers(self) -> None:
        """Has those that nothing is written with send what a restarted server lacks."""
        now = time.monotonic()
        if now - self._served_at > _SYNC_S:
            self._served_at = now
            for writer in self._open_writers:
                writer.serve()

    def close(self) -> None:
        """Ends threads, connections and emulators."""
        self._link.close()
        for writer in self._open_writers:
            writer.close()
        for journal in (*self._absent, self._journal):
            journal.close()
        self._environment.close()
        logging.info("%s: %d frames in this journal", self._role.label, self._counters["frames"])

"""The role `evaluator`: plays whole episodes with the newest parameters, every so many frames."""

import collections
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import logging

from agents import base as agents_base
from cluster import context
from cluster.messages import learner_link, messages
from envs import base as envs_base
from training.acting import evaluation, policy
from training.logs import recorder as recorder_lib
from training.system import stopping

_POLL_S = 0.2
_STATUS_S = 1.0


def run(role: context.Role) -> int:
    """Evaluates until the run is finished and its end evaluated, or until SIGINT or SIGTERM.

    Returns:
      The exit code: 0 if the run is finished, 3 if not.
    """
    with stopping.StopRequest() as stop:
        evaluator = Evaluator(role, lambda: stop.requested)
        try:
            return context.FINISHED if evaluator.work() else context.STOPPED
        except stopping.Stopped:  # during an evaluation: the next process makes it
            return context.STOPPED
        finally:
            evaluator.close()


class Evaluator:
    """Evaluates at the first parameters after each multiple of evaluation.period_frames."""

    def __init__(self, role: context.Role, stop: Callable[[], bool]):
        """Plays nothing yet.

        Args:
          role: the evaluator's.
          stop: whether the process was asked to end.
        """
        self._role, self._stop = role, stop
        self._config: Any = role.config
        spec, action_spec = policy.environment_specs(self._config)
        agent = agents_base.make(self._config, action_spec)
        self._player = evaluation.Evaluator(
            agent, self._config.agent.frame_stack, self._config.evaluation.max_episode_frames
        )
        self._recorder = recorder_lib.Recorder(
            role.run_dir, self._config, {"evaluation": recorder_lib.KEEP_ROWS}, ()
        )
        self._frames = self._noted_frames = self._recorder.last_evaluation()
        self._due: collections.deque[messages.Parameters] = collections.deque()
        shapes = policy.param_shapes(agent, self._config, spec)
        # What the learner is told, which waits for it where a task ends.
        self._reports: Sequence[messages.EvaluatorReport] = ()
        self._link = learner_link.LearnerLink(
            role.connect, shapes, lambda status: self._reports, on_parameters=self._note
        )
        self._reported_at = 0.0

    def work(self) -> bool:
        """Evaluates whenever it is time to; whether the run is finished."""
        while not self._stop():
            if self._due:
                self._evaluate(self._due.popleft())
                continue
            status, parameters = self._link.status, self._link.parameters
            if status is not None and parameters is not None and self._is_end(status, parameters):
                return True
            self._report_progress()
            time.sleep(_POLL_S)
        return False

    def _is_end(self, status: messages.Status, parameters: messages.Parameters) -> bool:
        """Whether the run is finished and its end evaluated, if there was any learning after."""
        if not status.is_end(self._config.num_frames) or parameters.updates != status.version:
            return False
        if parameters.updates and parameters.frames > self._frames:
            self._evaluate(parameters)
        return True

    def _note(self, parameters: messages.Parameters) -> None:
        """Keeps parameters that are to be evaluated; called in the link's thread.

        They may be replaced by newer ones before an evaluation under way has ended.
        """
        period = self._config.evaluation.period_frames
        is_due = parameters.frames // period > self._noted_frames // period
        # The run's end is evaluated with the parameters that it leaves.
        is_last = parameters.frames >= self._config.num_frames
        if parameters.updates and is_due and not is_last:
            self._noted_frames = parameters.frames
            self._due.append(parameters)
        self._reports = (messages.EvaluatorReport(parameters.updates, parameters.frames),)

    def _evaluate(self, parameters: messages.Parameters) -> None:
        """Plays the present game, or every game so far if evaluation.all_games is set."""
        config, task = self._config, parameters.task
        tasks = range(task + 1) if config.evaluation.all_games else (task,)
        environments = (envs_base.task_config(config.environment, i) for i in tasks)
        by_name = {envs_base.task_name(environment): environment for environment in environments}
        # Written down when all are played: one that is stopped is made again as a whole.
        played = {name: self._play(parameters, by_name[name]) for name in by_name}
        for name, episodes in played.items():
            mean = self._recorder.evaluation(parameters._asdict(), 0, name, episodes)
            logging.info(
                "frame %d, %s: evaluation return %.2f over %d episodes",
                parameters.frames,
                name,
                mean,
                len(episodes),
            )
        self._frames = parameters.frames

    def _play(
        self, parameters: messages.Parameters, environment: Mapping[str, Any]
    ) -> list[envs_base.Episode]:
        config = self._config.evaluation
        return self._player.play(
            jax.device_put(parameters.params),
            environment,
            config.num_envs,
            config.episodes,
            evaluation.seed(self._config.seed, 0, parameters.frames, config.period_frames),
            self._must_stop,
        )

    def _must_stop(self) -> bool:
        """Whether to give up an evaluation; says meanwhile that the process is alive."""
        self._report_progress()
        return self._stop()

    def _report_progress(self) -> None:
        """Writes this process's status, every second."""
        now = time.monotonic()
        if now - self._reported_at > _STATUS_S:
            self._reported_at = now
            self._role.write_status({"frames": self._frames})

    def close(self) -> None:
        """Ends threads and connections."""
        self._link.close()
        self._recorder.close()

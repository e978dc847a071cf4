"""The role `evaluator`: plays whole episodes with the newest parameters, every so many frames."""

import collections
import time
from collections.abc import Callable, Sequence

import jax
from absl import logging

from cluster import context
from cluster.messages import learner_link, messages
from envs import base as envs_base
from training import experiment
from training.acting import evaluation, task_evaluation
from training.logs import run_recorder
from training.system import exit_codes, stopping

_POLL_S = 0.2
_STATUS_S = 1.0


def run(role: context.Role) -> int:
    """Evaluates until the run is finished and its end evaluated, or until SIGINT or SIGTERM.

    Returns:
      The exit code: 0 if the run is finished, 3 if not.
    """
    with stopping.StopRequest() as stop:
        evaluator = EvaluatorProcess(role, lambda: stop.requested)
        try:
            return exit_codes.FINISHED if evaluator.work() else exit_codes.STOPPED
        except stopping.Stopped:  # during an evaluation: the next process redoes it
            return exit_codes.STOPPED
        finally:
            evaluator.close()


class EvaluatorProcess:
    """Evaluates the first parameters after each multiple of evaluation.period_frames."""

    def __init__(self, role: context.Role, stop: Callable[[], bool]):
        """Plays nothing yet.

        Args:
          role: the evaluator's.
          stop: whether the process was asked to end.
        """
        self._role, self._stop = role, stop
        settings = role.settings
        agent = experiment.make_agent(settings, *envs_base.make_specs(settings.environment))
        player = evaluation.Evaluator(
            agent, settings.transition.frame_stack, settings.evaluation.max_episode_frames
        )
        self._recorder = run_recorder.Recorder(
            role.run_dir, settings, {"evaluation": run_recorder.KEEP_ROWS}, ()
        )
        self._evaluation = task_evaluation.TaskEvaluation(settings, player, self._recorder)
        self._frames = self._noted_frames = max(self._recorder.last_evaluation(), 0)
        self._due: collections.deque[messages.Parameters] = collections.deque()
        # For the learner, which waits for them at the end of a task.
        self._reports: Sequence[messages.EvaluatorReport] = ()
        self._link = learner_link.LearnerLink(
            role.connect,
            agent.param_shapes(),
            lambda announcement: self._reports,
            on_parameters=self._note,
        )
        self._reported_at = 0.0
        # Of evaluations: what a supervisor sees that one goes on by.
        self._steps = 0

    def work(self) -> bool:
        """Evaluates whenever it is due; returns whether the run is finished."""
        while not self._stop():
            if self._due:
                self._evaluate(self._due.popleft())
                continue
            announcement, parameters = self._link.announcement, self._link.parameters
            if (
                announcement is not None
                and parameters is not None
                and self._is_end(announcement, parameters)
            ):
                return True
            self._report_progress()
            time.sleep(_POLL_S)
        return False

    def _is_end(self, announcement: messages.Announcement, parameters: messages.Parameters) -> bool:
        """Whether the run is finished; evaluates its end if there was any learning since."""
        if (
            not announcement.is_end(self._role.num_frames)
            or parameters.version != announcement.version
        ):
            return False
        if parameters.updates and parameters.frames > self._frames:
            self._evaluate(parameters)
        return True

    def _note(self, parameters: messages.Parameters) -> None:
        """Keeps parameters that are due for evaluation; called in the link's thread.

        The link may have newer ones before an evaluation under way has ended.
        """
        is_due = self._evaluation.is_due(self._noted_frames, parameters.frames)
        # The run's end is evaluated with its last parameters.
        is_last = parameters.frames >= self._role.num_frames
        if parameters.updates and is_due and not is_last:
            self._noted_frames = parameters.frames
            self._due.append(parameters)
        self._reports = (messages.EvaluatorReport(parameters.version, parameters.frames),)

    def _evaluate(self, parameters: messages.Parameters) -> None:
        counters = {"frames": parameters.frames, "task": parameters.task}
        params = jax.device_put(parameters.params)
        self._evaluation.evaluate(counters, [params], self._must_stop, logging.info)
        self._frames = parameters.frames

    def _must_stop(self) -> bool:
        """Whether to abandon an evaluation; also reports that it is under way."""
        self._steps += 1
        self._report_progress()
        return self._stop()

    def _report_progress(self) -> None:
        """Writes this process's status, every second."""
        now = time.monotonic()
        if now - self._reported_at > _STATUS_S:
            self._reported_at = now
            self._role.write_status({"frames": self._frames, "steps": self._steps})

    def close(self) -> None:
        """Ends threads and connections."""
        self._link.close()
        self._recorder.close()

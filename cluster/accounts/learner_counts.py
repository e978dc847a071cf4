"""How far a distributed run has come, and how far its actors may play."""

from collections.abc import Mapping, Sequence

import numpy as np

from cluster.messages import messages
from training.learning import run_counts, task_switching
from training.learning import update_schedule as update_schedule_lib


class LearnerCounts(run_counts.RunCounts):
    """The learner's counts: played frames are those the actors have reported.

    Attributes:
      NAMES: first_task: the oldest task whose transitions the replay may have.
        importance_start: steps added when the importance schedule was restarted.
    """

    NAMES = (*run_counts.RunCounts.NAMES, "first_task", "importance_start")

    def __init__(
        self,
        schedule: update_schedule_lib.UpdateSchedule,
        frames_per_step: int,
        credit_frames: int,
    ):
        """Begins a run.

        Args:
          schedule: of its updates.
          frames_per_step: emulator frames of an agent step.
          credit_frames: see `allowed_frames`.
        """
        super().__init__(schedule)
        self._frames_per_step = frames_per_step
        self._credit_frames = credit_frames

    @property
    def task_to_play(self) -> int:
        """The task for the actors: the next one as soon as this one is over."""
        return self.counters["task"] + (self.is_task_over and not self.is_finished)

    @property
    def importance_steps(self) -> np.ndarray:
        """Steps added since the importance schedule began, int32 []."""
        steps = self.counters["frames"] // self._frames_per_step
        return np.array(steps - self.counters["importance_start"], np.int32)

    def allowed_frames(self, is_starved: bool) -> int:
        """Frames that all actors together may have played.

        Those whose updates are done and `credit_frames` more, up to the end of the task. Reported
        frames with no updates due are done, so the actors and the learner never wait for each
        other, except in one case: the replay has too few transitions to draw from. Then
        `credit_frames` more than were played, even past the end of the task.

        Args:
          is_starved: whether that is the case.
        """
        if is_starved:
            return self.played + self._credit_frames
        return min(self.counters["frames"] + self._credit_frames, self.end_of_task)

    def begin_task(self, switch: task_switching.SwitchSettings) -> None:
        """Begins the next task."""
        counters = self.counters
        if switch.restart_importance:
            counters["importance_start"] = counters["frames"] // self._frames_per_step
        super().begin_task(switch)
        if switch.clear_replay:
            counters["first_task"] = counters["task"]


def frame_limits(
    alive: Sequence[messages.Report], played: int, allowed: int
) -> Mapping[messages.JournalId, int]:
    """By journal, how many of its own frames an actor may play.

    The frames allowed beyond the reported ones are divided evenly and rounded up, so each may play
    a step whenever any are allowed. No state is kept between calls, so nothing is lost when the
    learner or an actor dies.

    Args:
      alive: the newest reports of the actors heard from lately.
      played: frames that all actors have reported.
      allowed: see LearnerCounts.allowed_frames.
    """
    num_actors = len({report.actor for report in alive})
    return {
        report.journal_id: report.frames - (-max(0, allowed - played) // num_actors)
        for report in alive
    }

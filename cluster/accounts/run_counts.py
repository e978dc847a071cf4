"""How far a distributed run has come, what is due, and how far its actors may play."""

from collections.abc import Mapping, Sequence

import numpy as np

from cluster.messages import messages
from training.learning import task_switch
from training.learning import update_schedule as update_schedule_lib

# idle_frames: of the present task, as the replay was being filled. first_task: whose transitions
# are the oldest that the replay may have. importance_start: steps added when the importance
# schedule began anew.
COUNTERS: tuple[str, ...] = (
    "frames",
    "updates",
    "episodes",
    "task",
    "idle_frames",
    "first_task",
    "importance_start",
)


class RunCounts:
    """The learner's counts.

    `counters["frames"]` are those whose updates are done, which is what the parameters have learned
    from and what logs, snapshots and evaluations go by. The actors have played as many or more.

    Attributes:
      counters: COUNTERS by name.
      played: frames that the actors have reported.
    """

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
        self._schedule = schedule
        self._frames_per_step = frames_per_step
        self._credit_frames = credit_frames
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.counters["idle_frames"] = schedule.fill_frames
        self.played = 0

    @property
    def end_of_task(self) -> int:
        """The frame at which the present task ends, or the run."""
        return self._schedule.end_of_task(self.counters["task"])

    @property
    def updates_behind(self) -> int:
        """Updates that are due and not done."""
        counters = self.counters
        due = self._schedule.due(self.played, counters["task"], counters["idle_frames"])
        return max(0, due - counters["updates"])

    @property
    def is_task_over(self) -> bool:
        """Whether the task's frames are played, and their updates done."""
        return self.played >= self.end_of_task and not self.updates_behind

    @property
    def is_finished(self) -> bool:
        """Whether this is so of the whole run."""
        return self.is_task_over and self.end_of_task >= self._schedule.num_frames

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

        Those whose updates are done and `credit_frames` more, up to the end of the task. What is
        reported and has no updates due is done, so the actors and the learner never wait for each
        other, but for one case: the replay has too few transitions to draw from. Then that many
        more than were played, whatever they are good for.

        Args:
          is_starved: whether it has.
        """
        if is_starved:
            return self.played + self._credit_frames
        return min(self.counters["frames"] + self._credit_frames, self.end_of_task)

    def report(self, played: int) -> None:
        """Takes in the frames that were played; fewer than before change nothing."""
        self.played = max(self.played, played)
        self._advance()

    def count_update(self) -> None:
        """Counts an update that was done."""
        self.counters["updates"] += 1
        self._advance()

    def _advance(self) -> None:
        counters = self.counters
        learned = min(self.played, self.end_of_task)
        if self.updates_behind:
            done = counters["updates"], counters["task"], counters["idle_frames"]
            learned = min(learned, self._schedule.frames_of(*done))
        counters["frames"] = max(counters["frames"], learned)

    def begin_task(self, switch: task_switch.SwitchSettings) -> None:
        """Goes to the next task."""
        counters, overshoot = self.counters, max(0, self.played - self.end_of_task)
        counters["task"] += 1
        counters["idle_frames"] = 0
        if switch.restart_importance:
            counters["importance_start"] = counters["frames"] // self._frames_per_step
        if switch.clear_replay:
            counters["first_task"] = counters["task"]
            # What was played of the new task already is cleared as well.
            counters["idle_frames"] = self._schedule.fill_frames + overshoot
        self._advance()


def frame_limits(
    alive: Sequence[messages.Report], played: int, allowed: int
) -> Mapping[messages.JournalId, int]:
    """By journal, how many of its own frames an actor may play.

    What is allowed beyond the reported frames is parted evenly, and rounded up: so each may play a
    step whenever something is allowed. Nothing is kept from one call to the next, so that neither
    the learner nor an actor that dies takes anything with it.

    Args:
      alive: the newest reports of actors that were heard of lately.
      played: frames that all actors have reported.
      allowed: see RunCounts.allowed_frames.
    """
    num_actors = len({report.actor for report in alive})
    return {
        report.journal_id: report.frames - (-max(0, allowed - played) // num_actors)
        for report in alive
    }

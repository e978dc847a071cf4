"""Which updates are due after so many frames, in every mode of running."""

import dataclasses
from typing import Any

from core import checks


@dataclasses.dataclass(frozen=True)
class UpdateSchedule:
    """An update every so many frames, from the frame on at which the replay is filled.

    With one task the updates begin `fill_frames` late, as DQN Zoo's do. In a sequence each task has
    its frames_per_task / period_frames updates, whether it began with an empty replay or not: those
    that fall due while the replay is being filled are spread evenly over the rest of the task. So
    an agent whose replay is cleared does as many updates as one that keeps it.

    Attributes:
      period_frames: frames for each update.
      num_frames: of the run; later ones make no updates due.
      frames_per_task: after which a sequence goes to its next task; 0: there is one task.
      fill_frames: after which an empty replay has enough to learn from.
    """

    period_frames: int
    num_frames: int
    frames_per_task: int
    fill_frames: int

    @classmethod
    def from_config(
        cls, config: Any, frames_per_step: int, frames_per_task: int
    ) -> "UpdateSchedule":
        """The schedule of a run.

        Args:
          config: of the run.
          frames_per_step: emulator frames of an agent step.
          frames_per_task: of each task of a sequence; 0: there is one task.

        Raises:
          ConfigError: a task would be over before its replay is filled.
        """
        fill_frames = config.replay.min_size * frames_per_step
        if frames_per_task and fill_frames >= frames_per_task:
            raise checks.ConfigError(
                f"replay.min_size = {config.replay.min_size}: expected less than the "
                f"{frames_per_task // frames_per_step} agent steps of a task"
            )
        period_frames = config.training.update_period_frames
        return cls(period_frames, config.num_frames, frames_per_task, fill_frames)

    def end_of_task(self, task: int) -> int:
        """The frame at which a task ends, or the run."""
        if not self.frames_per_task:
            return self.num_frames
        return min((task + 1) * self.frames_per_task, self.num_frames)

    def due(self, frames: int, task: int, idle_frames: int) -> int:
        """Updates that should have been done by now.

        Args:
          frames: played so far.
          task: the present one, from 0; frames beyond its end make none due.
          idle_frames: of this task, in which its replay was being filled.
        """
        frames = min(frames, self.end_of_task(task))
        if not self.frames_per_task:
            return max(0, frames - idle_frames) // self.period_frames
        begin, length = self._learning(task, idle_frames)
        each = self._updates_per_task
        return task * each + max(0, frames - begin) * each // length

    def frames_of(self, updates: int, task: int, idle_frames: int) -> int:
        """The fewest frames by which so many updates are due in a task; arguments as of `due`."""
        if not self.frames_per_task:
            return idle_frames + updates * self.period_frames
        begin, length = self._learning(task, idle_frames)
        each = self._updates_per_task
        return begin - (-max(0, updates - task * each) * length // each)

    @property
    def _updates_per_task(self) -> int:
        return max(1, self.frames_per_task // self.period_frames)

    def _learning(self, task: int, idle_frames: int) -> tuple[int, int]:
        """The frame after which a task's updates are spread, and how many there are for that."""
        length = max(1, self.frames_per_task - idle_frames)
        return (task + 1) * self.frames_per_task - length, length

"""Which updates are due by a given frame, in every mode of running."""

import dataclasses

from core import checks
from training import run_settings


@dataclasses.dataclass(frozen=True)
class UpdateSchedule:
    """An update every `period_frames` frames, once the replay is filled.

    With one task the updates begin `fill_frames` late, as DQN Zoo's do. In a sequence each task has
    its frames_per_task / period_frames updates, whether it began with an empty replay or not: those
    that fall due while the replay is being filled are spread evenly over the rest of the task. So
    an agent whose replay is cleared does as many updates as one that keeps it.

    Attributes:
      period_frames: frames for each update.
      num_frames: of the run; later ones make no updates due.
      frames_per_task: of each task in a sequence; 0: there is one task.
      fill_frames: until an empty replay has enough to learn from; 0 if a dataset fills it.
      offline_updates: due before anything is played.
    """

    period_frames: int
    num_frames: int
    frames_per_task: int
    fill_frames: int
    offline_updates: int = 0

    @classmethod
    def make(cls, settings: run_settings.RunSettings) -> "UpdateSchedule":
        """The schedule of a run.

        Raises:
          ConfigError: a task would end before its replay is filled.
        """
        frames_per_step, frames_per_task = settings.frames_per_step, settings.frames_per_task
        fill_frames = 0 if settings.training.dataset else settings.replay.min_size * frames_per_step
        if frames_per_task and fill_frames >= frames_per_task:
            raise checks.ConfigError(
                f"replay.min_size = {settings.replay.min_size}: expected less than the "
                f"{frames_per_task // frames_per_step} agent steps of a task"
            )
        assert settings.num_frames is not None, "resolved"
        return cls(
            settings.training.update_period_frames,
            settings.num_frames,
            frames_per_task,
            fill_frames,
            settings.training.offline_updates,
        )

    def end_of_task(self, task: int) -> int:
        """The frame at which a task or the run ends."""
        if not self.frames_per_task:
            return self.num_frames
        return min((task + 1) * self.frames_per_task, self.num_frames)

    def is_whole(self, task: int) -> bool:
        """Whether a task of a sequence has all of its frames within the run."""
        return bool(self.frames_per_task) and (task + 1) * self.frames_per_task <= self.num_frames

    def due(self, frames: int, task: int, idle_frames: int) -> int:
        """Updates that should have been done by now.

        Args:
          frames: played so far.
          task: the current one, from 0; none are due beyond its end.
          idle_frames: of this task, while its replay was being filled.
        """
        frames = min(frames, self.end_of_task(task))
        if not self.frames_per_task:
            online = max(0, frames - idle_frames) // self.period_frames
            return self.offline_updates + online
        begin, length = self._learning(task, idle_frames)
        each = self._updates_per_task
        online = task * each + max(0, frames - begin) * each // length
        return self.offline_updates + online

    def frames_of(self, updates: int, task: int, idle_frames: int) -> int:
        """The fewest frames at which `updates` updates are due in a task; the rest as in `due`."""
        updates = max(0, updates - self.offline_updates)
        if not self.frames_per_task:
            return idle_frames + updates * self.period_frames
        begin, length = self._learning(task, idle_frames)
        each = self._updates_per_task
        return begin - (-max(0, updates - task * each) * length // each)

    @property
    def _updates_per_task(self) -> int:
        return max(1, self.frames_per_task // self.period_frames)

    def _learning(self, task: int, idle_frames: int) -> tuple[int, int]:
        """The frame after which a task's updates are spread, and over how many frames."""
        length = max(1, self.frames_per_task - idle_frames)
        return (task + 1) * self.frames_per_task - length, length

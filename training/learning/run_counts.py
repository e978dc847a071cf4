"""How far a run has come and what is due, in every mode of running."""

from training.learning import task_switching
from training.learning import update_schedule as update_schedule_lib


class RunCounts:
    """The counts of a run.

    `counters["frames"]` counts frames whose updates are done: what the parameters have learned
    from, and what logs, snapshots and evaluations are indexed by. More may have been played: while
    updates are behind, and beyond the end of a task or of the run, which a step of all environments
    may overshoot.

    Attributes:
      NAMES: of the counters. idle_frames: of the current task, while filling the replay.
      counters: by name.
    """

    NAMES: tuple[str, ...] = (
        "played_frames",
        "frames",
        "updates",
        "episodes",
        "task",
        "idle_frames",
    )

    def __init__(self, schedule: update_schedule_lib.UpdateSchedule):
        """Begins a run with this schedule of updates."""
        self._schedule = schedule
        self.counters: dict[str, int] = dict.fromkeys(self.NAMES, 0)
        self.counters["idle_frames"] = schedule.fill_frames

    @property
    def played(self) -> int:
        """Frames played, as far as is known."""
        return self.counters["played_frames"]

    @property
    def end_of_task(self) -> int:
        """The frame at which the current task or the run ends."""
        return self._schedule.end_of_task(self.counters["task"])

    @property
    def updates_behind(self) -> int:
        """Updates that are due but not done."""
        counters = self.counters
        due = self._schedule.due(self.played, counters["task"], counters["idle_frames"])
        return max(0, due - counters["updates"])

    @property
    def is_task_over(self) -> bool:
        """Whether the task's frames are played, and their updates done."""
        return self.played >= self.end_of_task and not self.updates_behind

    @property
    def is_next_task_due(self) -> bool:
        """Whether this task is over for good, and not because the run ends within it."""
        return self.is_task_over and self._schedule.is_whole(self.counters["task"])

    @property
    def is_finished(self) -> bool:
        """Whether the whole run is over."""
        return self.is_task_over and self.end_of_task >= self._schedule.num_frames

    def report(self, played: int) -> None:
        """Sets the frames played; a lower number than before changes nothing."""
        self.counters["played_frames"] = max(self.played, played)
        self._advance()

    def count_updates(self, num_updates: int = 1) -> None:
        """Counts updates that were done."""
        self.counters["updates"] += num_updates
        self._advance()

    def begin_task(self, switch: task_switching.SwitchSettings) -> None:
        """Goes to the next task."""
        counters, overshoot = self.counters, max(0, self.played - self.end_of_task)
        counters["task"] += 1
        # Frames played beyond the previous task's end are cleared as well.
        is_empty = switch.clear_replay
        counters["idle_frames"] = self._schedule.fill_frames + overshoot if is_empty else 0
        self._advance()

    def _advance(self) -> None:
        counters = self.counters
        learned = min(self.played, self.end_of_task)
        if self.updates_behind:
            done = counters["updates"], counters["task"], counters["idle_frames"]
            learned = min(learned, self._schedule.frames_of(*done))
        counters["frames"] = max(counters["frames"], learned)

"""How far a distributed run has come, and what is due: the learner's counts."""

from typing import Any

import numpy as np

from replay.reverb import settings
from training import task_switch

COUNTERS: tuple[str, ...] = (
    "frames",
    "updates",
    "episodes",
    "task",
    "schedule_updates",
    "idle_frames",
    # Updates done, and steps added, when the replay and the importance schedule began anew.
    "cleared_updates",
    "importance_start",
)


class Pace:
    """Counts, and the updates that are due for them by training.loop's formula.

    `counters["frames"]` are those whose updates are done, which is what the parameters have learned
    from and what logs, snapshots and evaluations go by. The actors have played as many or more.

    Attributes:
      counters: COUNTERS by name.
      played: frames that the actors have reported.
    """

    def __init__(self, config: Any, frames_per_step: int, frames_per_task: int, num_actors: int):
        """Begins a run.

        Args:
          config: of the run.
          frames_per_step: emulator frames of an agent step.
          frames_per_task: after which a sequence goes to its next game; 0: there is one task.
          num_actors: how many actors there are.
        """
        self._config = config
        self._frames_per_step = frames_per_step
        self._frames_per_task = frames_per_task
        self._max_behind = settings.updates_ahead(config, num_actors)
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.counters["idle_frames"] = self._frames_before_learning
        self.played = 0

    @property
    def _frames_before_learning(self) -> int:
        return self._config.replay.min_size * self._frames_per_step

    @property
    def end_of_task(self) -> int:
        """The frame at which the present task ends, or the run."""
        if not self._frames_per_task:
            return self._config.num_frames
        end = (self.counters["task"] + 1) * self._frames_per_task
        return min(end, self._config.num_frames)

    @property
    def due_updates(self) -> int:
        """Updates that should have been done by now."""
        learning_frames = min(self.played, self.end_of_task) - self.counters["idle_frames"]
        return max(0, learning_frames // self._config.training.update_period_frames)

    @property
    def updates_behind(self) -> int:
        """Updates that are due and not done."""
        return max(0, self.due_updates - self.counters["updates"])

    @property
    def is_far_behind(self) -> bool:
        """Whether all frames are played, or more updates are due than the limiter should let be.

        It counts transitions, which not every step makes, and samples, which a learner that was
        killed draws twice: alone, it would let the actors run further and further ahead.
        """
        return self.played >= self._config.num_frames or self.updates_behind > self._max_behind

    @property
    def is_task_over(self) -> bool:
        """Whether the task's frames are played, and their updates done."""
        return self.played >= self.end_of_task and not self.updates_behind

    @property
    def is_finished(self) -> bool:
        """Whether this is so of the whole run."""
        return self.is_task_over and self.end_of_task >= self._config.num_frames

    @property
    def task_to_play(self) -> int:
        """The task for the actors: the next one as soon as the frames of this one are played."""
        is_over = self.played >= self.end_of_task < self._config.num_frames
        return self.counters["task"] + is_over

    @property
    def samples_used(self) -> int:
        """Samples that the updates have drawn since the replay was last cleared."""
        updates = self.counters["updates"] - self.counters["cleared_updates"]
        return self._config.replay.batch_size * updates

    @property
    def importance_steps(self) -> np.ndarray:
        """Steps added since the importance schedule began, int32 []."""
        steps = self.counters["frames"] // self._frames_per_step
        return np.array(steps - self.counters["importance_start"], np.int32)

    def hear(self, played: int) -> None:
        """Takes in the frames that were played; fewer than before change nothing."""
        self.played = max(self.played, played)
        self._advance()

    def count_update(self) -> None:
        """Counts an update that was done."""
        self.counters["updates"] += 1
        self.counters["schedule_updates"] += 1
        self._advance()

    def _advance(self) -> None:
        counters, learned = self.counters, self.played
        if self.updates_behind:
            period = self._config.training.update_period_frames
            learned = counters["idle_frames"] + counters["updates"] * period
        counters["frames"] = max(counters["frames"], min(learned, self.played))

    def begin_task(self, switch: task_switch.SwitchSettings) -> None:
        """Goes to the next task."""
        counters, overshoot = self.counters, self.played - self.end_of_task
        counters["task"] += 1
        if switch.restart_importance:
            counters["importance_start"] = counters["frames"] // self._frames_per_step
        if switch.restart_schedule:
            counters["schedule_updates"] = 0
        if switch.clear_replay:
            counters["cleared_updates"] = counters["updates"]
            # What was played of the new task already is cleared as well.
            counters["idle_frames"] += self._frames_before_learning + overshoot

"""Evaluations of a run: which are due, on which tasks, and what is recorded."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envs import base as envs_base
from training import periods, run_settings
from training.acting import evaluation
from training.logs import run_recorder


@dataclasses.dataclass(frozen=True, eq=False)
class TaskEvaluation:
    """Plays the current task of a run, or every task so far if evaluation.all_games is set.

    Attributes:
      settings: of the run.
      evaluator: plays whole episodes.
      recorder: records the results.
    """

    settings: run_settings.RunSettings
    evaluator: evaluation.Evaluator
    recorder: run_recorder.Recorder

    def is_due(self, before: int, frames: int) -> bool:
        """Whether a multiple of the period was completed after `before` frames."""
        return periods.is_completed(self.settings.evaluation.period_frames, before, frames)

    def evaluate(
        self,
        counters: Mapping[str, int],
        params: Sequence[Any],
        stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        """Plays in fresh environments; results are recorded when all are played.

        So a stopped evaluation is repeated whole.

        Args:
          counters: frames and task of the parameters.
          params: of each seed.
          stop: whether to give up; asked before every step.
          say: called with results and with an evaluation's progress.

        Raises:
          stopping.Stopped: `stop` said so.
        """
        task = counters["task"]
        numbers = range(task + 1) if self.settings.evaluation.all_games else (task,)
        tasks = [envs_base.task(self.settings.environment, number) for number in numbers]
        by_name = {envs_base.task_name(chosen): chosen for chosen in tasks}
        played = {
            (name, k): self._play(chosen, k, of_seed, counters["frames"], stop, say)
            for name, chosen in by_name.items()
            for k, of_seed in enumerate(params)
        }
        for (name, k), episodes in played.items():
            mean = self.recorder.evaluation(counters, k, name, episodes)
            say(
                f"frame {counters['frames']}, seed {self.settings.seed + k}, {name}: evaluation "
                f"return {mean:.2f} over {len(episodes)} episodes"
            )

    def _play(
        self,
        chosen: envs_base.Settings,
        k: int,
        params: Any,
        frames: int,
        stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> list[envs_base.Episode]:
        settings = self.settings.evaluation
        seed = evaluation.seed(self.settings.seed, k, frames, settings.period_frames)
        return self.evaluator.play(
            params, chosen, settings.num_envs, settings.episodes, seed, stop, say
        )

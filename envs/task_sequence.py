"""Environments one after the other, as one: what continual runs play."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from core import checks
from envs import base, saved_settings

_LAST = int(dm_env.StepType.LAST)
# In place of an environment's index: keeps the tasks' seeds apart from those of environments and of
# evaluations.
_TASK_SEEDS = 1 << 21


class TaskSequence(base.VectorEnvironment):
    """N environments of one task until `next_task` is called, then all of the next one.

    After the last task the first comes again. The step on which a task is left is LAST in every
    environment: a truncation, unless the episode ended on it anyway. (An environment whose episode
    would begin on it has an episode without steps.) Episodes truncated this way are not among the
    `finished_episodes`.
    """

    def __init__(self, tasks: Sequence[base.Settings], num_envs: int, seed: int):
        """Builds the first task.

        Args:
          tasks: each task's settings; all have the same observations and actions.
          num_envs: N.
          seed: each task's environments have seeds of their own, derived from it.
        """
        self.num_envs = num_envs
        self.task = 0
        self._tasks = tasks
        self._seed = seed
        names = [base.task_name(task) for task in tasks]
        self._settings = {"games": names, "num_envs": num_envs, "seed": seed}
        self._is_leaving = False
        self._finished: list[base.Episode] = []
        self._present = self._make_present()
        self.frames_per_step = self._present.frames_per_step

    def observation_spec(self) -> specs.Array:
        """The current task's, and every other's."""
        return self._present.observation_spec()

    def action_spec(self) -> specs.DiscreteArray:
        """The current task's, and every other's."""
        return self._present.action_spec()

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode of the current task in every environment."""
        if self._is_leaving:
            self._enter_next()
        self._timestep = self._present.reset()
        return self._timestep

    def next_task(self) -> dm_env.TimeStep:
        """Leaves the task: the current step becomes the LAST of every environment's episode."""
        if self._is_leaving:
            raise RuntimeError("next_task twice without a step between")
        self._present.check_ready("next_task")
        self._finished += self._present.finished_episodes()
        self._is_leaving = True
        self.task += 1
        self._timestep = self._as_left(self._timestep)
        return self._timestep

    def send(self, actions: np.ndarray) -> None:
        """As any environment's; the result of a task that is being left is ignored."""
        self._present.send(actions)

    def recv(self) -> dm_env.TimeStep:
        """The step that `send` began, or the FIRST of the next task."""
        timestep = self._present.recv()
        if self._is_leaving:
            self._enter_next()
            timestep = self._present.reset()
        self._timestep = timestep
        return timestep

    def finished_episodes(self) -> list[base.Episode]:
        """See the base class."""
        finished, self._finished = self._finished, []
        return finished + ([] if self._is_leaving else self._present.finished_episodes())

    def check_ready(self, call: str) -> None:
        """See the base class."""
        self._present.check_ready(call)

    def get_state(self) -> dict[str, np.ndarray]:
        """The current task's state, which task it is, and whether it is being left."""
        return {
            **self._present.get_state(),
            "sequence": saved_settings.encode(self._settings),
            "task": np.array(self.task),
            "is_leaving": np.array(self._is_leaving),
            "finished_before": np.array(self._finished, np.float64).reshape(-1, 3),
        }

    def set_state(self, state: Mapping[str, np.ndarray]) -> dm_env.TimeStep:
        """Restores `get_state`'s result, as exactly as the current task can.

        Raises:
          ValueError: if the state was taken from a sequence with other settings.
          RuntimeError: if the emulators did not reach the saved step.
        """
        saved_settings.check_equal(state["sequence"], self._settings)
        self._is_leaving = bool(state["is_leaving"])
        self._present.close()
        self.task = int(state["task"]) - self._is_leaving
        self._present = self._make_present()
        timestep = self._present.set_state(state)
        self.task += self._is_leaving
        rows = state["finished_before"].tolist()
        self._finished = [base.Episode(int(i), r, int(length)) for i, r, length in rows]
        self._timestep = self._as_left(timestep) if self._is_leaving else timestep
        return self._timestep

    def close(self) -> None:
        """Frees the current task's environments."""
        self._present.close()

    def _as_left(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        is_first = timestep.first()
        return timestep._replace(
            step_type=np.full(self.num_envs, _LAST, np.int32),
            discount=np.where(is_first, np.float32(1), timestep.discount),
        )

    def _enter_next(self) -> None:
        self._present.close()
        self._is_leaving = False
        self._present = self._make_present()

    def _make_present(self) -> base.VectorEnvironment:
        seed = base.environment_seed(self._seed, _TASK_SEEDS, self.task)
        made = base.make(self._tasks[self.task % len(self._tasks)], self.num_envs, seed)
        self.exact_resume = made.exact_resume
        return made


def check_order(tasks: Sequence[Any], key: str, name: Callable[[Any], str] = str) -> None:
    """Raises ConfigError for no tasks, or one twice in a row, which would just continue.

    Args:
      tasks: anything that compares equal for the same task.
      key: of the configuration, for messages.
      name: a task's, for messages.
    """
    if not tasks:
        raise checks.ConfigError(f"{key} = []: expected at least one")
    for task, following in zip(tasks, (*tasks[1:], tasks[0])):
        if task == following and len(tasks) > 1:
            raise checks.ConfigError(
                f"{key} = {[name(task) for task in tasks]}: {name(task)!r} twice in a row (after "
                "the last the first comes again), expected another one after each"
            )


def check_specs(tasks: Sequence[base.Settings], key: str) -> None:
    """Raises ConfigError unless all tasks have the same observations, actions and frames per step.

    Builds each task for this and closes it again.
    """
    first = None
    for i, task in enumerate(tasks):
        with checks.renamed("environment", f"{key}[{i}]"):
            observation, action = base.make_specs(task)
        found = (
            f"{observation.dtype}{list(observation.shape)} and {action.num_values} actions, "
            f"{base.frames_per_step(task)} frames a step"
        )
        if first is not None and found != first:
            raise checks.ConfigError(
                f"{key}: {base.task_name(task)!r} has {found}: expected {first}, as the first has"
            )
        first = first or found

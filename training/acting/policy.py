"""An agent as a snapshot left it, ready to play."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agents import base as agents_base
from core import checks
from envs import base as envs_base
from plasticity import schedules
from training import experiment, run_directory, run_settings
from training.acting import evaluation
from training.checkpoints import snapshot, state_arrays


class Policy(NamedTuple):
    """An agent with parameters.

    Attributes:
      settings: of the run it comes from.
      agent: the algorithm.
      params: of one seed.
      frames: how many it was trained for.
      task: which of a sequence it was in, from 0.
      seed: its number.
    """

    settings: run_settings.RunSettings
    agent: agents_base.Agent
    params: Any
    frames: int
    task: int
    seed: int

    @property
    def environment(self) -> envs_base.Settings:
        """The settings it was trained with last; of a sequence, those of the task."""
        return envs_base.task(self.settings.environment, self.task)

    def evaluator(self) -> evaluation.Evaluator:
        """Plays episodes with this agent."""
        frame_stack = self.settings.transition.frame_stack
        max_frames = self.settings.evaluation.max_episode_frames
        return evaluation.Evaluator(self.agent, frame_stack, max_frames)


def load(run_dir: Path, frames: int | None = None, seed_index: int = 0) -> Policy:
    """Loads the policy of a run's snapshot; the replay is not read.

    Args:
      run_dir: the run's directory.
      frames: which snapshot, by its frame count, or copy of the parameters alone; None for the
        newest snapshot.
      seed_index: which of the run's seeds, from 0.

    Raises:
      ConfigError: if there is no such run, snapshot or seed.
      SnapshotError: if the snapshot is damaged or of another shape.
      NotFiniteError: if a parameter is not finite.
    """
    settings = run_settings.parse(run_directory.read_config(run_dir))
    if not 0 <= seed_index < settings.num_seeds:
        raise checks.ConfigError(
            f"seed_index = {seed_index}: expected one of the run's {settings.num_seeds} seeds, "
            "from 0"
        )
    path = _choose(run_dir, frames)
    counters = snapshot.verify(path)
    arrays = snapshot.read_arrays(path, "learner")
    params = lambda shapes: state_arrays.params_of_seed(path, arrays, shapes, seed_index)  # noqa: E731
    seed = settings.seed + seed_index
    return make(settings, str(path), params, counters["frames"], counters["task"], seed)


def make(
    settings: run_settings.RunSettings,
    place: str,
    read: Callable[[Any], Any],
    frames: int,
    task: int,
    seed: int,
) -> Policy:
    """A policy of parameters that were kept.

    Args:
      settings: of its run.
      place: where they were kept, for messages.
      read: gives the parameters, with shapes and types as in its argument.
      frames: that it was trained for.
      task: that it was in then.
      seed: its number.

    Raises:
      NotFiniteError: if a parameter is not finite.
    """
    playing = dataclasses.replace(settings, optimizer=_at_hand(settings.optimizer))
    agent = experiment.make_agent(playing, *envs_base.make_specs(settings.environment))
    params = read(agent.param_shapes())
    of_seed = {name: array[None] for name, array in state_arrays.to_arrays(params).items()}
    state_arrays.check_finite(of_seed, f"{place}: params", seed)
    return Policy(settings, agent, params, frames, task, seed)


def _at_hand(optimizer: Any) -> Any:
    """The section, without the file that a learning rate may follow: playing needs neither."""
    schedule = getattr(optimizer, "schedule", None)  # several optimizers can't follow one
    if schedule is None or schedule.name != "norm_growth":
        return optimizer
    return dataclasses.replace(optimizer, schedule=schedules.ScheduleSettings())


def saved_frames(run_dir: Path) -> list[int]:
    """The frame counts that a run's parameters can be loaded at, in order."""
    return sorted({int(path.name) for path in _saved(run_dir)})


def choose_frames(run_dir: Path, wanted: str) -> list[int]:
    """The frame counts, in order, of the checkpoints that are asked for.

    Args:
      run_dir: the run's directory.
      wanted: "newest", "all", or frame counts with commas between.

    Raises:
      ConfigError: if there are none, or not those.
    """
    saved = saved_frames(run_dir)
    listed = ", ".join(map(str, saved)) or "none"
    if wanted in ("newest", "all") and saved:
        return list(saved) if wanted == "all" else [saved[-1]]
    try:
        chosen = {int(part) for part in wanted.split(",")}
    except ValueError:  # something else than integers, which may have underscores
        chosen = set()
    if not chosen or not chosen <= set(saved):
        raise checks.ConfigError(
            f"checkpoints = {wanted!r}: expected newest, all, or some of {listed}"
        )
    return sorted(chosen)


def _saved(run_dir: Path) -> list[Path]:
    snapshots = snapshot.list_saved(run_dir / "snapshots")
    return [*snapshots, *snapshot.list_saved(run_dir / "parameters")]


def _choose(run_dir: Path, frames: int | None) -> Path:
    chosen = [path for path in _saved(run_dir) if frames is None or int(path.name) == frames]
    if not chosen:
        listed = ", ".join(map(str, saved_frames(run_dir))) or "none"
        raise checks.ConfigError(f"snapshot = {frames}: expected one of {run_dir}: {listed}")
    return chosen[0]

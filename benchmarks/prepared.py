"""A learner that is ready to be measured, and how its parts are timed."""

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from core import checks
from training import agent_loop, derived, run_settings
from training import experiment as experiment_lib
from training.logs import stage_timer


def settings_of(name: str, game: str, changes: Mapping[str, object]) -> run_settings.RunSettings:
    """The settings of configs/`name`.py on a game, with some keys changed.

    Raises:
      ConfigError: if there is no such config, or a key or value is not allowed.
    """
    if importlib.util.find_spec(f"configs.{name}") is None:
        raise checks.ConfigError(f"config = {name!r}: expected a file of configs/, without .py")
    config = importlib.import_module(f"configs.{name}").get_config(game)
    with config.unlocked():
        config.update_from_flattened_dict(dict(changes))
    return run_settings.parse(derived.resolve(config))


class Prepared:
    """A learner with something in its replay."""

    def __init__(self, settings: run_settings.RunSettings, num_steps: int = 64):
        """Plays `num_steps` steps of every environment."""
        self.experiment = experiment_lib.make(settings)
        environment = self.experiment.environment
        timestep = environment.reset()
        self._observed = experiment_lib.observed(timestep, self.experiment.learner)
        self.state = self.experiment.learner.init(1, self._observed.observation)
        for _ in range(num_steps):
            actions = self.observe()
            timestep = environment.step(actions)
            self._observed = experiment_lib.observed(timestep, self.experiment.learner)
        environment.close()

    def observe(self) -> np.ndarray:
        """Records the last time step again, and fetches the actions it leads to."""
        self.state, actions = self.experiment.learner.observe(self.state, self._observed)
        return np.asarray(actions).reshape(-1)

    def learn(self, num_updates: int) -> jax.Array:
        """Does updates in one call, one with no copy to the target; returns their loss."""
        self.state, metrics = self.experiment.learner.learn(self.state, num_updates, False)
        return metrics["loss"]


class Rates(NamedTuple):
    """Of one seed, per second."""

    updates: float
    frames: float


def play(loop: agent_loop.AgentLoop, goes_on: Callable[[], bool]) -> Rates:
    """Iterates a loop as long as `goes_on`; logs and saves nothing."""
    timer = stage_timer.StageTimer(every=1 << 30)
    timer.next_iteration()  # nothing is measured within
    before, begin = dict(loop.counts.counters), time.perf_counter()
    while goes_on():
        loop.iterate(timer)
    jax.block_until_ready(loop.state.train.updates)
    took, after = time.perf_counter() - begin, loop.counts.counters
    updates, frames = ((after[name] - before[name]) / took for name in ("updates", "played_frames"))
    return Rates(updates, frames)


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes until its result is there."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median of some calls, after one that is not counted."""
    call()
    return statistics.median(seconds(call) for _ in range(repeats))

"""Observations from the replay of a run's newest snapshot, on which its networks are compared."""

from pathlib import Path
from typing import NamedTuple

import jax

from agents import base as agents_base
from core import checks
from training import agent_loop, experiment, run_settings
from training.checkpoints import snapshot


class Replayed(NamedTuple):
    """A run's agent, and observations [number, ...] that it made."""

    agent: agents_base.Agent
    inputs: jax.Array


def draw(
    run_dir: Path, settings: run_settings.RunSettings, number: int, seed_index: int
) -> Replayed:
    """Draws observations uniformly, always the same ones.

    Args:
      run_dir: the run's directory.
      settings: of the run.
      number: so many.
      seed_index: of which of the run's seeds, from 0.

    Raises:
      ConfigError: if there is no snapshot.
      SnapshotError: if it has no replay, or can't be read.
    """
    saved = snapshot.list_saved(run_dir / "snapshots")
    if not saved:
        raise checks.ConfigError(f"run_dir = {str(run_dir)!r}: expected a run with a snapshot")
    parts = experiment.make(settings)
    try:
        loop = agent_loop.AgentLoop(settings, parts)
        loop.restore(saved[0], snapshot.verify(saved[0]))
        drawn = parts.measurements.observations(loop.state, jax.random.key(0), number)
        return Replayed(parts.learner.agent, drawn[seed_index])
    finally:
        parts.environment.close()

"""How pre-activations are distributed over the units of each layer, checkpoint by checkpoint.

python -m scripts.unit_histograms --run_dir=RUN --checkpoints=all

Writes unit_moments.csv (mean and variance of each hidden unit's pre-activation over inputs from the
run's replay) and unit_histograms.png to the run's directory; see docs/metrics.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags, logging

from agents import base as agents_base
from analysis.figures import curves, unit_histograms
from core import checks, progress
from plasticity.metrics import unit_metrics
from scripts import command_line
from training import run_directory, run_settings
from training.acting import policy
from training.learning import replayed_inputs
from training.logs import csv_log, run_recorder
from training.system import jax_platform

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.", required=True)
_CHECKPOINTS = flags.DEFINE_string("checkpoints", "newest", "newest, all, or frames: 1000,2000.")
_SEED_INDEX = flags.DEFINE_integer("seed_index", 0, "Which of the run's seeds, from 0.")
_INPUTS = flags.DEFINE_integer("inputs", 2_048, "Over which moments are taken.", lower_bound=2)
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")


def main(argv: Sequence[str]) -> int:
    """Measures, writes and draws; what was written before is replaced."""
    del argv
    run_dir = Path(_RUN_DIR.value)
    settings = run_settings.parse(run_directory.read_config(run_dir))
    jax_platform.set_up(_PLATFORM.value, settings.precision)
    frames = policy.choose_frames(run_dir, _CHECKPOINTS.value)
    path, picture = run_dir / "unit_moments.csv", run_dir / "unit_histograms.png"
    with run_directory.locked(run_dir):
        rows = list(measure(run_dir, settings, progress.track(frames, "checkpoint")))
        path.unlink(missing_ok=True)
        table = csv_log.CsvLog(path, "frames", run_recorder.KEEP_ROWS)
        for row in rows:
            table.append(row)
    curves.save(unit_histograms.draw(path), picture)
    logging.info("wrote %s and %s", path, picture)
    return 0


def measure(
    run_dir: Path, settings: run_settings.RunSettings, frames: Iterable[int]
) -> Iterator[dict[str, Any]]:
    """A row for each checkpoint, layer and unit.

    Raises:
      ConfigError: if the run has no snapshot, or its agent does not show its units.
    """
    seed = _SEED_INDEX.value
    agent, inputs = replayed_inputs.draw(run_dir, settings, _INPUTS.value, seed)
    if agent.units is None:
        raise checks.ConfigError(
            f"agent.module = {settings.sections.agent.module!r}: expected an agent with units"
        )
    units = agent.units

    @jax.jit
    def moments(params: agents_base.Params) -> dict[str, tuple[jax.Array, jax.Array]]:
        seen = units(params, jax.random.key(0), inputs)
        return {name: unit_metrics.moments(x.pre) for name, x in seen.items()}

    for at in frames:
        found = jax.device_get(moments(policy.load(run_dir, at, seed).params))
        for layer, (means, variances) in found.items():
            for unit, (mean, variance) in enumerate(zip(np.asarray(means), np.asarray(variances))):
                yield {
                    "frames": at,
                    "seed_index": seed,
                    "layer": layer,
                    "unit": unit,
                    "pre_mean": float(mean),
                    "pre_variance": float(variance),
                }


if __name__ == "__main__":
    command_line.run(main)

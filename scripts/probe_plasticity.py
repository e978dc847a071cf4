"""Fits fresh targets from a run's checkpoints, and from new networks beside them.

python -m scripts.probe_plasticity --run_dir=runs/rainbow/pong/seed_1 --checkpoints=all

Writes probe.csv and probe.png to the run's directory: losses of a checkpoint's networks over those
of new ones, 1 if they learn as well; see docs/metrics.md. Checkpoints are snapshots, and the copies
of parameters of snapshot.parameters_period_frames. The inputs come from the replay of the run's
newest snapshot: once there is a newer one, probes of other inputs are rows of their own. What
probe.csv has already is not done again.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags, logging

from agents import base as agents_base
from analysis.figures import curves, trainability_figure
from core import checks, progress
from plasticity import trainability
from scripts import command_line
from training import run_directory, run_settings
from training.acting import policy
from training.checkpoints import snapshot
from training.learning import replayed_inputs
from training.logs import csv_log, run_recorder
from training.system import exit_codes, jax_platform, stopping

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory.", required=True)
_CHECKPOINTS = flags.DEFINE_string("checkpoints", "newest", "newest, all, or frames: 1000,2000.")
_SEED_INDEX = flags.DEFINE_integer("seed_index", 0, "Which of the run's seeds, from 0.")
_DRAWS = flags.DEFINE_integer("draws", 5, "Targets, and new networks.", lower_bound=1)
_INPUTS = flags.DEFINE_integer("inputs", 2_048, "Inputs to be fitted.", lower_bound=1)
_UPDATES = flags.DEFINE_integer("updates", 2_000, "Updates of a fit.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Inputs in an update.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Of Adam; above 0.")
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")

# Apart from the seeds of runs.
_FRESH_SEED = 1_000_000


class Probe(NamedTuple):
    """What checkpoints are fitted to.

    Attributes:
      agent: of the run.
      inputs: observations [N, ...].
      inputs_frames: of the snapshot whose replay they are from.
      budget: of each fit.
      fit: (params, task, rng) -> trainability.Fit, compiled for each task.
    """

    agent: agents_base.Agent
    inputs: jax.Array
    inputs_frames: int
    budget: trainability.Budget
    fit: Callable[[Any, trainability.Task, jax.Array], trainability.Fit]


def main(argv: Sequence[str]) -> int:
    """Probes and draws; returns 0, or 3 when stopped early: what was measured stays."""
    del argv
    if _LEARNING_RATE.value <= 0:
        raise checks.ConfigError(f"learning_rate = {_LEARNING_RATE.value}: expected a number > 0")
    run_dir = Path(_RUN_DIR.value)
    settings = run_settings.parse(run_directory.read_config(run_dir))
    jax_platform.set_up(_PLATFORM.value, settings.precision)
    frames = policy.choose_frames(run_dir, _CHECKPOINTS.value)
    budget = trainability.Budget(_UPDATES.value, _BATCH_SIZE.value, _LEARNING_RATE.value)
    output = run_dir / "probe.csv"
    with stopping.StopRequest("ending after a fit") as stop, run_directory.locked(run_dir):
        probe = make_probe(run_dir, settings, budget)
        table = csv_log.CsvLog(output, "frames", run_recorder.KEEP_ROWS)
        missing = csv_log.without_row(output, list(asked(frames, probe)))
        for row in progress.track(measure(run_dir, probe, missing), "fit", len(missing)):
            table.append(row)
            logging.info(
                "%d frames, %s, draw %d: %.3f of a new network's mean loss",
                *(row[name] for name in ("frames", "task", "draw", "mean_loss_ratio")),
            )
            if stop.requested:
                return exit_codes.STOPPED
    curves.save(trainability_figure.draw(output), output.with_suffix(".png"))
    logging.info("wrote %s and %s", output, output.with_suffix(".png"))
    return 0


def make_probe(
    run_dir: Path, settings: run_settings.RunSettings, budget: trainability.Budget
) -> Probe:
    """Draws the inputs; raises as `replayed_inputs.draw`."""
    agent, inputs = replayed_inputs.draw(run_dir, settings, _INPUTS.value, _SEED_INDEX.value)
    # The directory is locked: these are of the newest still.
    inputs_frames = int(snapshot.list_saved(run_dir / "snapshots")[0].name)

    # Inputs one by one and with the same noise, so that it is one function of each.
    def values(params, observations):
        def one(x):
            output = agent.apply(params, jax.random.key(0), x[None])
            return agents_base.action_values(output)[0]

        return jax.vmap(one)(observations)

    @functools.partial(jax.jit, static_argnums=1)
    def fit(params, task, rng):
        return trainability.fit(values, params, inputs, task, rng, budget, agent.of_learning)

    return Probe(agent, inputs, inputs_frames, budget, fit)


def asked(frames: Sequence[int], probe: Probe) -> Iterator[dict[str, Any]]:
    """What a row says of the fit, for each checkpoint, task and draw."""
    of_all = {
        "seed_index": _SEED_INDEX.value,
        "inputs": _INPUTS.value,
        "inputs_frames": probe.inputs_frames,
        **dataclasses.asdict(probe.budget),
    }
    for at, task, draw in itertools.product(frames, trainability.TASKS, range(_DRAWS.value)):
        yield {"frames": at, "task": task, "draw": draw, **of_all}


def measure(
    run_dir: Path, probe: Probe, rows: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The rows, with what was found; a checkpoint's stand together."""
    load = functools.lru_cache(1)(lambda at: policy.load(run_dir, at, _SEED_INDEX.value).params)
    fresh = functools.cache(lambda task, draw: _fit_fresh(probe, task, draw))
    for row in rows:
        task, draw = row["task"], row["draw"]
        found = probe.fit(load(row["frames"]), task, jax.random.key(draw))
        beside = fresh(task, draw)
        yield {
            **row,
            "mean_loss": float(found.mean_loss),
            "final_loss": float(found.final_loss),
            "fresh_mean_loss": float(beside.mean_loss),
            "fresh_final_loss": float(beside.final_loss),
            "mean_loss_ratio": float(found.mean_loss / beside.mean_loss),
            "final_loss_ratio": float(found.final_loss / beside.final_loss),
        }


def _fit_fresh(probe: Probe, task: trainability.Task, draw: int) -> trainability.Fit:
    rng = jax.random.key(_FRESH_SEED + draw)
    params = probe.agent.init(rng, probe.inputs[:1]).params
    return probe.fit(params, task, jax.random.key(draw))


if __name__ == "__main__":
    command_line.run(main)

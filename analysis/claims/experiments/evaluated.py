"""Agents scored by evaluations on one task: IQL on PointmassHard."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import contract
from analysis.figures import stream_figure
from core import checks

QUANTITY = "mean_return"
IQL = ("point_mass_iql", "point_mass_iql_1", "point_mass_iql_2")
"""Injected never, once and twice."""

_DATA = Path("datasets/point_mass.npz")
_KEYS = (
    "--config.evaluation.period_frames=5_000",
    "--config.log.period_frames=5_000",
    "--config.log.layers_period_frames=0",
    "--config.log.tensorboard=false",
    "--config.snapshot.period_frames=50_000",
    "--config.snapshot.keep=1",
)


def point_mass_iql() -> contract.Experiment:
    """IQL from data to playing, with plasticity injected."""
    return contract.Experiment(
        "IQL on PointmassHard, 100,000 updates on data and as many while playing, injected into "
        "0, 1 or 2 times",
        "",
        (10, 40),
        _run,
        _draw,
        "figure 5 of Cheng, Chen and Ma: all three end at the same return, injected agents get "
        "there about 50,000 steps later",
    )


def _run(runner: contract.Runner) -> contract.Outcome:
    if not _DATA.exists():
        arguments = ["--config=configs/point_mass.py", "--explore", "--steps=10_000"]
        runner.call("collect", [*arguments, f"--output={_DATA}"])
    root = runner.root / "test"
    runner.sweep(root, "point_mass_iql", ("0", "1", "2"), runner.seeds(20), _KEYS)
    runs = run_records.find([root])
    scores: dict[str, dict[int, np.ndarray]] = {}
    frames: set[tuple[int, ...]] = set()
    for run in runs:
        if not run.is_finished:
            raise checks.ConfigError(f"{run.path}: failed at frame {run.frames}")
        rows = list(run.evaluations())
        for seed in run.seeds:
            # One at its very beginning is missing where a run was stopped in it.
            ours = [row for row in rows if row.seed == seed and row.frames]
            scores.setdefault(run.name, {})[seed] = np.array([row.mean_return for row in ours])
            frames.add(tuple(row.frames for row in ours))
    if len(frames) > 1:
        raise checks.ConfigError(f"{root}: expected evaluations at the same frames in all runs")
    return contract.Outcome(runs, {QUANTITY: scores}, next(iter(frames)))


def _draw(found: evidence_lib.Evidence) -> Figure:
    return stream_figure.draw(
        found.scores[QUANTITY], found.positions, "steps while playing", "mean return"
    )

"""Agents scored by evaluations on one task: IQL on PointmassHard and DQN on LunarLander."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import contract, task_quantities
from analysis.figures import stream_figure
from core import checks

QUANTITY = "mean_return"
IQL = ("point_mass_iql", "point_mass_iql_1", "point_mass_iql_2")
"""Injected never, once and twice."""
LANDERS = ("lunar_lander_dqn", "lunar_lander_dqn_injection")
"""Injected never and once."""


def point_mass_iql() -> contract.Experiment:
    """IQL from data to playing, with plasticity injected."""
    return contract.Experiment(
        "IQL on PointmassHard, 100,000 updates on data and as many while playing, injected into "
        "0, 1 or 2 times",
        "",
        (10, 40),
        _run_iql,
        _draw,
        "figure 5 of Cheng, Chen and Ma: all three end at the same return, injected agents get "
        "there about 50,000 steps later",
    )


def lunar_lander() -> contract.Experiment:
    """DQN with plasticity injected after half of the run."""
    return contract.Experiment(
        "Double DQN on LunarLander, 300,000 steps, injected after half of them or never",
        "",
        (20, 40),
        _run_lander,
        _draw,
        "Cheng, Chen and Ma mention LunarLander without a result",
    )


def _run_iql(runner: contract.Runner) -> contract.Outcome:
    # Where the runs are, as it is of their commit.
    data = runner.root / "point_mass.npz"
    if not data.exists():
        arguments = ["--config=configs/point_mass.py", "--explore", "--steps=10_000"]
        runner.call("collect", [*arguments, f"--output={data}"])
    root = runner.root / "test"
    keys = _keys(period_frames=5_000, snapshot_frames=50_000)
    keys.append(f"--config.training.dataset={data}")
    runner.sweep(root, "point_mass_iql", ("0", "1", "2"), runner.seeds(20), keys)
    return _outcome(root)


def _run_lander(runner: contract.Runner) -> contract.Outcome:
    root = runner.root / "test"
    keys = _keys(period_frames=20_000, snapshot_frames=100_000)
    silent = [f"--config.log.{log}_period_frames=0" for log in ("units", "ranks")]
    arms = ("none", "injection")
    runner.sweep(root, "lunar_lander_dqn", arms, runner.seeds(10), [*keys, *silent])
    return _outcome(root)


def _keys(period_frames: int, snapshot_frames: int) -> list[str]:
    return [
        f"--config.evaluation.period_frames={period_frames}",
        f"--config.log.period_frames={period_frames}",
        "--config.log.layers_period_frames=0",
        "--config.log.tensorboard=false",
        f"--config.snapshot.period_frames={snapshot_frames}",
        "--config.snapshot.keep=1",
    ]


def _outcome(root: Path) -> contract.Outcome:
    """The evaluations of the runs that did not fail.

    Raises:
      ConfigError: if one has other evaluations than the rest, or as task_quantities.by_arm.
    """
    runs = run_records.find([root])
    scores = task_quantities.by_arm(
        runs, lambda run, seed: np.array([row.mean_return for row in _evaluations(run, seed)])
    )
    frames = {
        tuple(row.frames for row in _evaluations(run, seed))
        for run in runs
        if run.is_finished
        for seed in run.seeds
    }
    if len(frames) > 1:
        raise checks.ConfigError(f"{root}: expected evaluations at the same frames in all runs")
    return contract.Outcome(runs, {QUANTITY: scores}, next(iter(frames)))


def _evaluations(run: run_records.RunRecord, seed: int) -> list[run_records.Evaluation]:
    """Without one at the very beginning, which is missing where a run was stopped in it."""
    return [row for row in run.evaluations() if row.seed == seed and row.frames]


def _draw(found: evidence_lib.Evidence) -> Figure:
    panel = stream_figure.Panel(found.scores[QUANTITY], "mean return")
    return stream_figure.draw([panel], found.positions, "steps while playing")

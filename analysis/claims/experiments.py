"""The runs that test claims, each as its PROTOCOL.md says, made of the project's own scripts."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records, task_streams
from analysis.claims import evidence as evidence_lib
from analysis.figures import stream_figure


class Place(NamedTuple):
    """Where and how an experiment runs.

    Attributes:
      call: runs a script with its arguments, and raises where that does not finish.
      root: for the runs; what is there is continued.
      is_full: the size of the protocol, or the small one.
      workers: runs at once.
    """

    call: Callable[..., None]
    root: Path
    is_full: bool
    workers: int

    @property
    def seeds(self) -> str:
        """Of the runs that count."""
        return ",".join(map(str, range(1, 21 if self.is_full else 6)))

    def sweep(self, root: Path, config: str, arms: Sequence[str], seeds: str, *keys: str) -> None:
        """Trains arms, the arguments of a config, with each seed."""
        self.call(
            "sweep",
            f"--configs=configs/{config}.py",
            f"--arguments={','.join(arms)}",
            f"--seeds={seeds}",
            f"--root={root}",
            f"--workers={self.workers}",
            "--",
            *keys,
        )


class Outcome(NamedTuple):
    """Runs and what is kept of them."""

    runs: Sequence[run_records.RunRecord]
    scores: evidence_lib.Scores
    positions: Sequence[int]


class Experiment(NamedTuple):
    """What tests claims.

    Attributes:
      title: a line.
      proxy_of: what it stands for; "" if it has the source's own scale.
      minutes: on two cores, of the small size and of the full one.
      run: trains what is missing.
      draw: its figure.
      described: what the source's figure or text shows.
    """

    title: str
    proxy_of: str
    minutes: tuple[int, int]
    run: Callable[[Place], Outcome]
    draw: Callable[[evidence_lib.Evidence], Figure]
    described: str


_RATES = ("3e-4", "1e-3", "3e-3")
_TUNING_SEEDS = "100,101"


def stream_arm(agent: str, arm: str) -> str:
    """The name of the runs of configs/classification_stream.py:AGENT:ARM."""
    is_default = (agent, arm) == ("c51", "plain")
    return "classification_stream" if is_default else f"classification_{agent}_{arm}"


def _run_stream(agent: str, arms: Sequence[str], place: Place) -> Outcome:
    rates = _tune(agent, arms, place) if place.is_full else dict.fromkeys(arms, "1e-3")
    test = place.root / "test"
    for rate in dict.fromkeys(rates.values()):
        chosen = [f"{agent}:{arm}" for arm in arms if rates[arm] == rate]
        key = f"--config.optimizer.learning_rate={rate}"
        place.sweep(test / rate, "classification_stream", chosen, place.seeds, key)
    runs = run_records.find([test])
    scores = task_streams.scores(runs, "greedy_reward")
    (num_tasks,) = {len(values) for by_seed in scores.values() for values in by_seed.values()}
    return Outcome(runs, scores, range(num_tasks))


def _tune(agent: str, arms: Sequence[str], place: Place) -> Mapping[str, str]:
    """For each arm the rate with the highest mean of the last third, on seeds of their own."""
    last: dict[str, dict[str, float]] = {}
    for rate in _RATES:
        root = place.root / "tuning" / rate
        key = f"--config.optimizer.learning_rate={rate}"
        chosen = [f"{agent}:{arm}" for arm in arms]
        place.sweep(root, "classification_stream", chosen, _TUNING_SEEDS, key)
        scores = task_streams.scores(run_records.find([root]), "greedy_reward")
        for arm in arms:
            outcome = task_streams.outcome(scores[stream_arm(agent, arm)])
            last.setdefault(arm, {})[rate] = outcome.last.mean
    return {arm: max(by_rate, key=lambda rate: by_rate[rate]) for arm, by_rate in last.items()}


def _draw_stream(found: evidence_lib.Evidence) -> Figure:
    tasks = found.positions + 1
    return stream_figure.draw(found.scores, tasks, "task", "share of images answered rightly")


_MAIN_ARMS = ("plain", "ln", "nap", "nap_schedule")
_ALL_ARMS = (*_MAIN_ARMS, "l2_init", "redo", "reset")


def _stream(title: str, agent: str, arms: Sequence[str], minutes: tuple[int, int]) -> Experiment:
    def run(place: Place) -> Outcome:
        return _run_stream(agent, arms if place.is_full else _MAIN_ARMS, place)

    return Experiment(
        title,
        "sequences of Atari games",
        minutes,
        run,
        _draw_stream,
        "Left half of the last figure of the NaP paper: over two passes through ten games, "
        "Rainbow falls behind a new network, NaP does not",
    )


_POINT_MASS = ("0", "1", "2")


def _run_point_mass(place: Place) -> Outcome:
    data = Path("datasets/point_mass.npz")
    if not data.exists():
        place.call(
            "collect",
            "--config=configs/point_mass.py",
            "--explore",
            "--steps=10_000",
            f"--output={data}",
        )
    place.sweep(
        place.root / "runs",
        "point_mass_iql",
        _POINT_MASS,
        place.seeds,
        "--config.evaluation.period_frames=5_000",
        "--config.log.period_frames=5_000",
        "--config.log.layers_period_frames=0",
        "--config.log.tensorboard=false",
        "--config.snapshot.period_frames=50_000",
        "--config.snapshot.keep=1",
    )
    runs = run_records.find([place.root / "runs"])
    scores: dict[str, dict[int, np.ndarray]] = {}
    frames: set[tuple[int, ...]] = set()
    for run in runs:
        rows = list(run.evaluations())
        for seed in run.seeds:
            ours = [row for row in rows if row.seed == seed]
            scores.setdefault(run.name, {})[seed] = np.array([row.mean_return for row in ours])
            frames.add(tuple(row.frames for row in ours))
    (positions,) = frames
    return Outcome(runs, scores, positions)


def _draw_point_mass(found: evidence_lib.Evidence) -> Figure:
    return stream_figure.draw(found.scores, found.positions, "online steps", "mean return")


EXPERIMENTS: Mapping[str, Experiment] = {
    "classification_stream": _stream(
        "C51 on a stream of classification tasks, pixels and classes permuted in each",
        "c51",
        _ALL_ARMS,
        (8, 65),
    ),
    "classification_stream_rainbow": _stream(
        "Rainbow on the same stream, with tasks of 2,000 updates", "rainbow", _MAIN_ARMS, (20, 100)
    ),
    "point_mass_iql": Experiment(
        "IQL on PointmassHard, 100,000 updates on data and as many online, injected into 0, 1 or "
        "2 times",
        "",
        (10, 40),
        _run_point_mass,
        _draw_point_mass,
        "Figure 5 of Cheng, Chen and Ma: all three end at the same return, injected agents get "
        "there about 50,000 steps later",
    ),
}
"""By name, which is the directory in docs/results/ and that of the protocol."""

"""Streams of classification tasks for value-based agents (configs/classification_stream.py)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis import run_records, task_streams
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import contract
from analysis.figures import stream_figure

QUANTITY = "greedy_reward"
DEVIATION = "norm_deviation"
"""Of the norms of the layers that NaP projects, or would: the largest relative one from birth."""

MAIN_ARMS = ("plain", "ln", "nap", "nap_schedule")
ALL_ARMS = (*MAIN_ARMS, "l2_init", "redo", "reset")


def name(agent: str, arm: str) -> str:
    """Of the runs of an agent and an arm."""
    is_default = (agent, arm) == ("c51", "plain")
    return "classification_stream" if is_default else f"classification_{agent}_{arm}"


def make(
    title: str, agent: str, arms: Sequence[str], minutes: tuple[int, int]
) -> contract.Experiment:
    """The experiment of an agent; its small size has the first four arms."""

    def run(place: contract.Place) -> contract.Outcome:
        used = arms if place.is_full else arms[: len(MAIN_ARMS)]
        tuned = contract.Tuned(
            config="classification_stream",
            names={f"{agent}:{arm}": name(agent, arm) for arm in used},
            rates={f"{agent}:{arm}": ("3e-4", "1e-3", "3e-3") for arm in used},
            merit=_last,
            seeds=20,
        )
        runs = tuned.run(place)
        scores = {
            QUANTITY: task_streams.scores(runs, QUANTITY),
            DEVIATION: task_streams.by_arm(runs, _norm_deviation),
        }
        return contract.Outcome(runs, scores, range(task_streams.num_tasks(runs[0])))

    return contract.Experiment(
        title,
        "sequences of Atari games",
        minutes,
        run,
        _draw,
        "left half of the last figure of the NaP paper: over two passes through ten games, "
        "Rainbow falls behind a new network, NaP does not",
    )


def _last(run: run_records.RunRecord) -> float:
    (arm,) = task_streams.scores([run], QUANTITY).values()
    return float(np.mean([task_streams.parts(values)[1] for values in arm.values()]))


def _norm_deviation(run: run_records.RunRecord, seed: int) -> np.ndarray:
    """At the end of each task [T]."""
    table = run_records.read_table(run.path / f"norms_seed_{seed}.csv")
    # A resumed run repeats rows: the last of them counts.
    last = {updates: row for row, updates in enumerate(table["updates"])}
    rows = [last[updates] for updates in sorted(last)]
    norms = np.stack([table[layer][rows] for layer in table if layer != "updates"])
    return np.abs(norms[:, 1:] / norms[:, :1] - 1).max(axis=0)


def _draw(found: evidence_lib.Evidence) -> Figure:
    tasks = found.positions + 1
    return stream_figure.draw(
        found.scores[QUANTITY], tasks, "task", "share of images answered rightly"
    )

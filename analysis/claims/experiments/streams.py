"""Experiments on streams of tasks: runs, what is read of each task, and a figure of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis import run_records, task_streams
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import contract, task_quantities
from analysis.figures import stream_figure


class PlottedQuantity(NamedTuple):
    """What is drawn.

    Attributes:
      quantity: of the scores.
      label: what its axis is called.
      arms: the names of arms by what they are called in the figure, in its order; None for all by
        their names.
    """

    quantity: str
    label: str
    arms: Mapping[str, str] | None = None


def make(
    title: str,
    proxy_of: str,
    minutes: tuple[int, int],
    runs: contract.TunedSweep | contract.VariantSweep,
    quantities: Mapping[str, task_quantities.Read],
    plotted: PlottedQuantity,
    described: str,
) -> contract.Experiment:
    """The experiment; see contract.Experiment. `quantities` are those of its scores."""

    def run(runner: contract.Runner) -> contract.Outcome:
        return outcome(runs.run(runner), quantities)

    return contract.Experiment(title, proxy_of, minutes, run, draw_tasks(plotted), described)


def outcome(
    runs: Sequence[run_records.RunRecord], quantities: Mapping[str, task_quantities.Read]
) -> contract.Outcome:
    """The runs with their scores by task."""
    scores = {key: task_quantities.by_arm(runs, read) for key, read in quantities.items()}
    num_tasks = max(task_streams.num_tasks(run) for run in runs)
    return contract.Outcome(runs, scores, range(num_tasks))


def draw_tasks(plotted: PlottedQuantity) -> Callable[[evidence_lib.Evidence], Figure]:
    """How to draw a quantity of each task."""

    def draw(found: evidence_lib.Evidence) -> Figure:
        scores = found.scores[plotted.quantity]
        if plotted.arms:
            # An experiment of the small size lacks some.
            there = {shown: arm for shown, arm in plotted.arms.items() if arm in scores}
            scores = {shown: scores[arm] for shown, arm in there.items()}
        return stream_figure.draw(scores, found.positions + 1, "task", plotted.label)

    return draw

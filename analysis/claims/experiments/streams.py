"""Experiments on streams of tasks: runs, what is read of each task, and a figure of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis import run_records, task_streams
from analysis.claims import evidence as evidence_lib
from analysis.claims.experiments import contract, task_quantities
from analysis.figures import stream_figure


class PlottedQuantity(NamedTuple):
    """What a panel of the figure shows.

    Attributes:
      quantity: of the scores.
      label: what its axis is called.
      arms: the names of arms by what they are called in the figure, in its order; None for all by
        their names.
      title: of the panel.
    """

    quantity: str
    label: str
    arms: Mapping[str, str] | None = None
    title: str = ""


def make(
    title: str,
    proxy_of: str,
    minutes: tuple[int, int],
    runs: contract.TunedSweep | contract.VariantSweep,
    quantities: Mapping[str, task_quantities.Read],
    plotted: Sequence[PlottedQuantity],
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


def draw_tasks(plotted: Sequence[PlottedQuantity]) -> Callable[[evidence_lib.Evidence], Figure]:
    """How to draw quantities of each task, a panel for each."""

    def draw(found: evidence_lib.Evidence) -> Figure:
        # Older runs may lack what is drawn of newer ones.
        panels = [panel(one, found) for one in plotted if one.quantity in found.scores]
        return stream_figure.draw(panels, found.positions + 1, "task")

    return draw


def panel(plotted: PlottedQuantity, found: evidence_lib.Evidence) -> stream_figure.Panel:
    """With the scores of what is plotted, as far as there are any."""
    scores = found.scores[plotted.quantity]
    if plotted.arms:
        # An experiment of the small size lacks some.
        there = {shown: arm for shown, arm in plotted.arms.items() if arm in scores}
        scores = {shown: scores[arm] for shown, arm in there.items()}
    return stream_figure.Panel(scores, plotted.label, plotted.title)

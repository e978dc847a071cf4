"""Draws the learning curves of one or several runs into a picture.

python -m scripts.plot --output=curve.png runs/rainbow/pong/seed_1 runs/rainbow_nap/pong/seed_1
python -m scripts.plot --metrics=units.dead,ranks.feature_effective_rank \
    runs/lab_redo/CartPole-v1/seed_1

A metric is a column of layers.csv, units.csv, ranks.csv or network.csv: see docs/metrics.md.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging
from matplotlib.figure import Figure

from analysis import run_records
from analysis.figures import curves, metric_curves
from scripts import command_line

_OUTPUT = flags.DEFINE_string("output", "learning_curve.png", "The picture: .png, .svg or .pdf.")
_LAYERS = flags.DEFINE_bool("layers", False, "Norms and relative updates of each layer as well.")
_METRICS = flags.DEFINE_list("metrics", [], "Instead of returns: such as units.dead,layers.norm.")
_SHOW = flags.DEFINE_bool("show", False, "Open a window too; needs a display.")


def main(argv: Sequence[str]) -> None:
    """Draws the runs given as arguments."""
    if len(argv) < 2:
        command_line.fail("no run directory given: plot needs one or several")
    runs = [run_records.load(Path(path)) for path in argv[1:]]
    if _SHOW.value:
        curves.use_windows()
    figure = _draw(runs)
    curves.save(figure, Path(_OUTPUT.value))
    logging.info("wrote %s", _OUTPUT.value)
    if _SHOW.value:
        curves.show()


def _draw(runs: Sequence[run_records.RunRecord]) -> Figure:
    if not _METRICS.value:
        return curves.draw(runs, with_layers=_LAYERS.value)
    if _LAYERS.value:
        command_line.fail("--layers and --metrics: expected one of them")
    labels = [f"{curves.label(run)}, {run.path.name}" for run in runs]
    if len(set(labels)) < len(labels):
        labels = [str(run.path) for run in runs]
    return metric_curves.draw(dict(zip(labels, runs)), _METRICS.value)


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)

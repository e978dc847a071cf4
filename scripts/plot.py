"""Draws the learning curves of one or several runs into a picture.

python -m scripts.plot --output=curve.png runs/rainbow/pong/seed_1 runs/rainbow_nap/pong/seed_1
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from analysis import curves, run_records
from scripts import command_line

_OUTPUT = flags.DEFINE_string("output", "learning_curve.png", "The picture: .png, .svg or .pdf.")
_LAYERS = flags.DEFINE_bool("layers", False, "Norms and relative updates of each layer as well.")
_SHOW = flags.DEFINE_bool("show", False, "Open a window too; needs a display.")


def main(argv: Sequence[str]) -> None:
    """Draws the runs given as arguments."""
    if len(argv) < 2:
        command_line.fail("no run directory given: plot needs one or several")
    runs = [run_records.load(Path(path)) for path in argv[1:]]
    if _SHOW.value:
        curves.use_windows()
    figure = curves.draw(runs, with_layers=_LAYERS.value)
    curves.save(figure, Path(_OUTPUT.value))
    logging.info("wrote %s", _OUTPUT.value)
    if _SHOW.value:
        curves.show()


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)

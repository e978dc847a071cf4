"""Compares runs: one HTML page with figures, tables and protocols, and each as PNG and CSV.

python -m scripts.report --output=report runs/comparison

Arguments are directories with runs in or below them. Runs of single games and of sequences get
sections of their own.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from analysis import run_records
from analysis.reporting import report
from scripts import command_line

_OUTPUT = flags.DEFINE_string("output", None, "A directory, new or empty.", required=True)
_TITLE = flags.DEFINE_string("title", "Comparison of runs", "The page's title.")
_MIXED = flags.DEFINE_bool("mixed_protocols", False, "Compare runs of several protocols.")
_MARGIN = flags.DEFINE_float(
    "margin",
    0.0,
    "Test whether final returns are within this of the first agent's; 0: don't.",
    lower_bound=0.0,
)
_THRESHOLD = flags.DEFINE_float("threshold", None, "Report when evaluations reach this return.")


def main(argv: Sequence[str]) -> None:
    """Writes the report on the runs given as arguments."""
    if len(argv) < 2:
        command_line.fail("no run directory given: report needs one or several")
    runs = run_records.find([Path(path) for path in argv[1:]])
    output = Path(_OUTPUT.value)
    options = report.Options(_TITLE.value, _MIXED.value, _MARGIN.value, _THRESHOLD.value)
    report.write(runs, output, options)
    logging.info("wrote %s, %d runs", output / "index.html", len(runs))


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)

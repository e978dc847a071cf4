"""Which metric tells how well networks still learn: its rank correlation with the probe's outcome.

python -m scripts.rank_metrics --output=ranking.csv --figure=ranking.png runs/lab_plain runs/lab_nap

Arguments are directories with runs in or below them, whose checkpoints scripts.probe_plasticity has
probed and whose layers, units, ranks or network were measured (docs/metrics.md).
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from analysis import metric_ranking, run_records
from analysis.figures import curves, ranking_figure
from plasticity import trainability
from scripts import command_line

_TASK = flags.DEFINE_enum("task", "regression", trainability.TASKS, "Of the probe.")
_OUTPUT = flags.DEFINE_string("output", None, "Write the table to this file .csv too.")
_FIGURE = flags.DEFINE_string("figure", None, "Draw it to this file, such as .png.")


def main(argv: Sequence[str]) -> None:
    """Prints the metrics, those that tell the most first."""
    if len(argv) < 2:
        command_line.fail("no run directory given: rank_metrics needs one or several")
    runs = run_records.find([Path(path) for path in argv[1:]])
    ranked = metric_ranking.rank(runs, _TASK.value)
    print(f"{'metric':42} {'rho':>6} {'95 % interval':>16} {'within runs':>12} runs checkpoints")
    for row in ranked:
        interval = f"[{row.low:+.2f}, {row.high:+.2f}]"
        print(
            f"{row.metric:42} {row.pooled:+6.2f} {interval:>16} {row.within:+12.2f} "
            f"{row.runs:4} {row.checkpoints:11}"
        )
    if _OUTPUT.value:
        with command_line.writing(_OUTPUT):
            _write(Path(_OUTPUT.value), ranked)
    if _FIGURE.value:
        curves.save(ranking_figure.draw(ranked), Path(_FIGURE.value))


def _write(path: Path, ranked: Sequence[metric_ranking.Ranked]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(metric_ranking.Ranked._fields)
        writer.writerows(ranked)


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)

"""Whether agents lose plasticity in a stream of tasks, and which lose less: a table and a figure.

python -m scripts.compare_streams --base=classification_stream --output=DIRECTORY RUNS

RUNS are directories with runs in or below them; runs of one name are an arm. Writes outcomes.csv,
differences.csv (each arm less the base, paired by seed), tasks.csv and tasks.png to the directory;
analysis/task_streams.py says what is compared. Run it on runs of one commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging

from analysis import pairing, run_records, task_streams
from analysis.figures import curves, stream_figure
from scripts import command_line

_BASE = flags.DEFINE_string(
    "base", None, "The arm that the others are compared with.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "A directory; made if it is not there.", required=True
)
_COLUMN = flags.DEFINE_string("column", "greedy_reward", "Of train.csv.")


def main(argv: Sequence[str]) -> None:
    """Prints and writes the comparison."""
    if len(argv) < 2:
        command_line.fail("no run directory given: compare_streams needs one or several")
    runs = run_records.find([Path(path) for path in argv[1:]])
    run_records.check_one_commit([part for run in runs for part in task_streams.with_trunks(run)])
    arms = task_streams.scores(runs, _COLUMN.value)
    outcomes = {name: task_streams.outcome(arm) for name, arm in arms.items()}
    differences = task_streams.differences(arms, _BASE.value)
    for name, found in outcomes.items():
        print(f"{name:40} " + "  ".join(f"{k} {_shown(v)}" for k, v in found._asdict().items()))
    for name, difference in differences.items():
        print(
            f"{name} - {_BASE.value}: {_shown(difference.estimate)} (unpaired "
            f"[{difference.unpaired[0]:+.3f}, {difference.unpaired[1]:+.3f}]), above in "
            f"{difference.wins} of {difference.estimate.seeds}, p = {difference.adjusted:.2g}"
        )
    output = Path(_OUTPUT.value)
    with command_line.writing(_OUTPUT):
        output.mkdir(parents=True, exist_ok=True)
        run_records.write_table(output / "outcomes.csv", _outcome_rows(outcomes))
        run_records.write_table(output / "differences.csv", _difference_rows(differences))
        run_records.write_table(output / "tasks.csv", _task_rows(arms))
    num_tasks = max(len(values) for arm in arms.values() for values in arm.values())
    panel = stream_figure.Panel(arms, _COLUMN.value)
    figure = stream_figure.draw([panel], range(1, num_tasks + 1), "task")
    curves.save(figure, output / "tasks.png")
    logging.info("wrote outcomes.csv, differences.csv, tasks.csv and tasks.png to %s", output)


def _shown(estimate: pairing.Estimate) -> str:
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _outcome_rows(outcomes: Mapping[str, task_streams.Outcome]) -> Iterable[dict[str, Any]]:
    for name, found in outcomes.items():
        for quantity, estimate in found._asdict().items():
            yield {"arm": name, "quantity": quantity, **estimate._asdict()}


def _difference_rows(
    differences: Mapping[str, task_streams.Difference],
) -> Iterable[dict[str, Any]]:
    for name, found in differences.items():
        low, high = found.bootstrap
        yield {
            "arm": name,
            "base": _BASE.value,
            **found.estimate._asdict(),
            "bootstrap_low": low,
            "bootstrap_high": high,
            "unpaired_low": found.unpaired[0],
            "unpaired_high": found.unpaired[1],
            "wins": found.wins,
            "p_value": found.p_value,
            "adjusted": found.adjusted,
        }


def _task_rows(arms: Mapping[str, task_streams.Scores]) -> Iterable[dict[str, Any]]:
    for name, arm in arms.items():
        for seed, values in arm.items():
            for task, score in enumerate(values):
                yield {"arm": name, "seed": seed, "task": task, "score": float(score)}


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)

"""What each measurement of plasticity costs, in percent of an update.

    python -m benchmarks.measurements --config=data_efficient --output=measurements.json

Each file's measurement is timed as a run makes it, and each of its columns alone: compiled without
the others, so that what several columns need, such as a pass through the network, is counted in
each of them. All are timed in turns with plain updates of the same agent, once compiled.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import flags

from benchmarks import machine, prepared
from core import progress
from scripts import command_line
from training.system import jax_platform

_CONFIG = flags.DEFINE_string("config", "data_efficient", "The agent that is measured.")
_GAME = flags.DEFINE_string("game", "pong", "The game.")
_REPEATS = flags.DEFINE_integer("repeats", 12, "Turns of each.", lower_bound=3)
_CAPACITY = flags.DEFINE_integer("capacity", 20_000, "Transitions in the replay.", lower_bound=5000)
_UPDATES = flags.DEFINE_integer("updates", 8, "In a turn.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; a table goes beside it (.md).")

_ALL = "all"
"""The row of a whole file."""


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    outputs = machine.output_paths(_OUTPUT.value)
    jax_platform.set_up("auto")
    changes = {"replay.capacity": _CAPACITY.value}
    plain = prepared.Prepared(prepared.settings_of(_CONFIG.value, _GAME.value, changes))
    plain.learn(_UPDATES.value)
    report = {
        "machine": {**machine.describe(), "device": jax_platform.describe_device()},
        "config": _CONFIG.value,
        "measurements": {file: _measure(file, call, plain) for file, call in _files(plain).items()},
    }
    text = _markdown(report)
    print(text)
    machine.write(outputs, report, text)


def _files(plain: prepared.Prepared) -> dict[str, Callable[[Any], Mapping[str, Any]]]:
    """What is measured for each file, of a learner's state; jitted."""
    learner, of_probe = plain.experiment.learner, plain.experiment.measurements
    return {
        "layers.csv": learner.measure,
        "units.csv": of_probe.units,
        "ranks.csv": of_probe.ranks,
        "network.csv": of_probe.network,
    }


def _measure(
    file: str, measure: Callable[[Any], Mapping[str, Any]], plain: prepared.Prepared
) -> dict[str, Any]:
    """Of the whole file and of each column: milliseconds, and percent of an update."""
    columns = list(jax.eval_shape(measure, plain.state))
    only = lambda column: jax.jit(lambda state: measure(state)[column])  # noqa: E731
    found = {_ALL: _time(measure, plain)}
    for column in progress.track(columns, file):
        found[column] = _time(only(column), plain)
    return found


def _time(call: Callable[[Any], Any], plain: prepared.Prepared) -> dict[str, Any]:
    measure = lambda: prepared.seconds(lambda: call(plain.state))  # noqa: E731
    learn = lambda: prepared.seconds(lambda: plain.learn(_UPDATES.value))  # noqa: E731
    measure()
    turns = [(learn() / _UPDATES.value, measure()) for _ in range(_REPEATS.value)]
    return {
        "milliseconds": machine.spread([1e3 * measured for _, measured in turns]),
        "percent": machine.spread([100 * measured / update for update, measured in turns]),
    }


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [json.dumps({**report["machine"], "config": report["config"]}), ""]
    lines += ["| file | column | ms | % of an update (quartiles) |", "|---|---|---|---|"]
    for file, columns in report["measurements"].items():
        for column, found in columns.items():
            percent = found["percent"]
            lines.append(
                f"| `{file}` | `{column}` | {found['milliseconds']['median']:.1f} | "
                f"{percent['median']:.0f} ({percent['first_quartile']:.0f} to "
                f"{percent['third_quartile']:.0f}) |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)

"""How speed and memory grow with environments, replay, seeds and actions, for both loops.

    python -m benchmarks.scale --output=scale.json
    python -m benchmarks.scale --only=environments,seeds

Each row is a process of its own, whose peak memory is told; it is timed once it is compiled and
learns. Under each group of rows stands how they grow: of memory the straight line through them, of
frames a second the exponent p of x^p. How speed grows with actors is what benchmarks.distributed
measures.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from benchmarks import line_protocol, machine, scaling
from core import progress
from scripts import command_line

_ONLY = flags.DEFINE_list("only", [], "These groups; none: all.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Of each row, at least.", lower_bound=0.1)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; a table goes beside it (.md).")
_ROW = flags.DEFINE_string("row", None, "Measure this one here, and print JSON. For the parent.")

_ROW_MINUTES = 15


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    if _ROW.value is not None:
        answers = line_protocol.claim_stdout()
        answers.write(json.dumps(scaling.measure(**json.loads(_ROW.value))) + "\n")
        return
    outputs = machine.output_paths(_OUTPUT.value)
    names = machine.choose("only", _ONLY.value, list(scaling.GROUPS))
    groups = {name: _measure_group(name, scaling.GROUPS[name]) for name in names}
    report = {"machine": machine.describe(), "groups": groups}
    text = scaling.format_table(report)
    print(text)
    machine.write(outputs, report, text)


def _measure_group(name: str, group: scaling.Group) -> dict[str, Any]:
    rows = []
    for value in progress.track(group.values, "row"):
        row = {
            "config": group.config,
            "argument": group.argument,
            "changes": {**group.changes, group.key: value},
            "seconds": _SECONDS.value,
        }
        command = [sys.executable, "-m", "benchmarks.scale", f"--row={json.dumps(row)}"]
        done = subprocess.run(
            command, cwd=machine.ROOT, stdout=subprocess.PIPE, timeout=60 * _ROW_MINUTES, text=True
        )
        if done.returncode:
            command_line.fail(f"{name}, {group.key} = {value}: ended with {done.returncode}")
        rows.append({"value": value, **json.loads(done.stdout)})
        print(f"{name}: {rows[-1]}", file=sys.stderr, flush=True)
    return {"config": f"{group.config}:{group.argument}", "key": group.key, "rows": rows}


if __name__ == "__main__":
    command_line.run(main)

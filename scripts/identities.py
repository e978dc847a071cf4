"""Measures, in float64, how exactly norm growth is a decay of the effective learning rate.

python -m scripts.identities --problems=201,202 --output=identities

On each problem of plasticity/identities.py, by each optimizer: a free run, and two projected ones,
with the free run's effective rates and with a constant one. Writes a row for each update
(distances.csv) and where they come from (provenance.jsonl).
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from analysis import run_records
from core import checks, progress
from plasticity import identities
from scripts import command_line
from training import run_directory
from training.system import jax_platform

_PROBLEMS = flags.DEFINE_list("problems", ["0"], "Their numbers: data and first parameters.")
_OUTPUT = flags.DEFINE_string("output", None, "A directory; written anew.", required=True)


def main(argv: Sequence[str]) -> None:
    """Measures and writes."""
    del argv
    if not _PROBLEMS.value or not all(number.isdecimal() for number in _PROBLEMS.value):
        raise checks.ConfigError(f"problems = {','.join(_PROBLEMS.value)}: expected integers >= 0")
    problems = [int(number) for number in _PROBLEMS.value]
    output = Path(_OUTPUT.value)
    with command_line.writing(_OUTPUT):
        output.mkdir(parents=True, exist_ok=True)
    jax_platform.set_up("cpu")
    began = time.monotonic()
    tracked = progress.track(problems, "problem")
    rows = [row for problem in tracked for row in identities.distances(problem)]
    start = {**run_directory.code_and_machine(), "elapsed_seconds": time.monotonic() - began}
    with command_line.writing(_OUTPUT):
        run_records.write_table(output / "distances.csv", rows)
        (output / "provenance.jsonl").write_text(json.dumps(start) + "\n", encoding="utf-8")
    logging.info("wrote %s: %d rows", output, len(rows))


if __name__ == "__main__":
    command_line.run(main)

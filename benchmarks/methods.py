"""What methods against loss of plasticity cost, beside a plain update.

    python -m benchmarks.methods --config=data_efficient --output=methods.json

Every method of configs/lab that leaves the agent's loss as it is, is put into one agent. Its update
is timed in turns of plain, method, plain, method ... so that their ratio does not depend on what
else the machine does. What is done only now and then, as by resets, is in it as often as it comes
in the turns: next to never.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags

from benchmarks import lab_methods, machine, prepared
from core import progress
from scripts import command_line
from training import run_settings
from training.system import jax_platform

_CONFIG = flags.DEFINE_string("config", "data_efficient", "Into which config methods are put.")
_GAME = flags.DEFINE_string("game", "pong", "The game.")
_REPEATS = flags.DEFINE_integer("repeats", 12, "Turns of each method.", lower_bound=3)
_CAPACITY = flags.DEFINE_integer("capacity", 20_000, "Transitions in the replay.", lower_bound=5000)
_UPDATES = flags.DEFINE_integer("updates", 4, "Of a call.", lower_bound=1)
_ONLY = flags.DEFINE_list("only", [], "These methods of configs/lab; none: all.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; a table goes beside it (.md).")


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    outputs = machine.output_paths(_OUTPUT.value)
    methods = machine.choose("only", _ONLY.value, lab_methods.names())
    jax_platform.set_up("auto")
    plain = prepared.Prepared(_settings({}))
    plain.learn(_UPDATES.value)
    report = {
        "machine": {**machine.describe(), "device": jax_platform.describe_device()},
        "config": _CONFIG.value,
        "updates": {},
    }
    for name in progress.track(methods, "method"):
        report["updates"][name] = _measure_method(name, plain)
        print(f"{name}: {report['updates'][name]['ratio']['median']:.2f}", flush=True)
        jax.clear_caches()
        plain.learn(_UPDATES.value)
    text = _markdown(report)
    print(text)
    machine.write(outputs, report, text)


def _settings(changes: Mapping[str, Any]) -> run_settings.RunSettings:
    changes = {"replay.capacity": _CAPACITY.value, **changes}
    return prepared.settings_of(_CONFIG.value, _GAME.value, changes)


def _measure_method(name: str, plain: prepared.Prepared) -> dict[str, Any]:
    method = prepared.Prepared(_settings(lab_methods.changes(name)))
    call = lambda learner: prepared.seconds(lambda: learner.learn(_UPDATES.value))  # noqa: E731
    call(method)
    turns = [(call(plain), call(method)) for _ in range(_REPEATS.value)]
    milliseconds = [1e3 * after / _UPDATES.value for _, after in turns]
    return {
        "milliseconds": machine.spread(milliseconds),
        "ratio": machine.spread([after / before for before, after in turns]),
    }


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [json.dumps({**report["machine"], "config": report["config"]}), ""]
    lines += ["| method | ms an update | ratio to plain (quartiles) |", "|---|---|---|"]
    for name, found in report["updates"].items():
        ratio = found["ratio"]
        lines.append(
            f"| `{name}` | {found['milliseconds']['median']:.1f} | {ratio['median']:.2f} "
            f"({ratio['first_quartile']:.2f} to {ratio['third_quartile']:.2f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)

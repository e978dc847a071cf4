"""The closed loop beside the loop over single steps, on the same configuration.

    python -m benchmarks.loops --config=cartpole_stream --output=loops.json

Both are compiled and have a filled replay before they are timed, in turns of one and the other, so
that their ratio does not depend on what else the machine does. Nothing is logged or saved.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from benchmarks import machine, prepared
from core import progress
from scripts import command_line
from training import agent_loop, closed_loop, run_settings
from training import experiment as experiment_lib
from training.system import jax_platform

_CONFIG = flags.DEFINE_string("config", "cartpole_stream", "With training.steps_per_call > 1.")
_ARGUMENT = flags.DEFINE_string("argument", "c51:plain", "Of the config.")
_TURNS = flags.DEFINE_integer("turns", 12, "Of each loop.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 500, "Of all environments, in a turn.", lower_bound=2)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; a table goes beside it (.md).")

_LOOPS = ("single steps", "closed")


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    outputs = machine.output_paths(_OUTPUT.value)
    jax_platform.set_up("auto")
    loops = {"single steps": _make(1), "closed": _make(_STEPS.value)}
    for loop in loops.values():
        _play(loop)  # fills the replay
        _play(loop)
    turns = [
        {name: _play(loop) for name, loop in loops.items()}
        for _ in progress.track(range(_TURNS.value), "turn")
    ]
    rates = {
        f"{name}: {unit}": machine.spread([turn[name][i] for turn in turns])
        for name in _LOOPS
        for i, unit in enumerate(("updates/s", "environment steps/s"))
    }
    ratios = [turn["closed"][0] / turn["single steps"][0] for turn in turns]
    report = {
        "machine": {**machine.describe(), "device": jax_platform.describe_device()},
        "config": f"{_CONFIG.value}:{_ARGUMENT.value}",
        "rates": rates,
        "ratio": machine.spread(ratios),
    }
    text = _markdown(report)
    print(text)
    machine.write(outputs, report, text)


def _settings(steps_per_call: int) -> run_settings.RunSettings:
    changes = {"training.steps_per_call": steps_per_call}
    return prepared.settings_of(_CONFIG.value, _ARGUMENT.value, changes)


def _make(steps_per_call: int) -> agent_loop.AgentLoop:
    settings = _settings(steps_per_call)
    loop = closed_loop.make(settings, experiment_lib.make(settings))
    loop.begin()
    return loop


def _play(loop: agent_loop.AgentLoop) -> prepared.Rates:
    """Updates and environment steps, which are its frames, a second of one turn."""
    counters = loop.counts.counters
    end = counters["played_frames"] + _STEPS.value * loop.num_envs
    return prepared.play(loop, lambda: counters["played_frames"] < end)


def _markdown(report: dict[str, Any]) -> str:
    lines = [
        f"{report['config']}, {report['machine']['device']}, {report['machine']['processor']}",
        "",
        "| | median | quartiles |",
        "|---|---|---|",
    ]
    for name, spread in {**report["rates"], "closed / single steps": report["ratio"]}.items():
        digits = 2 if name == "closed / single steps" else 0
        quartiles = (
            f"{spread['first_quartile']:.{digits}f} to {spread['third_quartile']:.{digits}f}"
        )
        lines.append(f"| {name} | {spread['median']:.{digits}f} | {quartiles} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main)

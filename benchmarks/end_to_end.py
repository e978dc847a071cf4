"""Training speed of this project's Rainbow against a public one: the same work, in turn.

python -m benchmarks.end_to_end --peer_python=.venv-peers/bin/python --output=speed.json
python -m benchmarks.end_to_end --baseline=../at_another_commit

Each implementation is warmed up in a process of its own. Then they train in turn, the order
swapped every repeat, while the others wait. All of that is done in several launches: one process
may be a tenth slower than the next of the same code, for as long as it lives. Absolute speeds are
this machine's; the ratio, taken within each repeat, is the result. A repeat in which other
processes had more than a twentieth of the cores is shown but not counted: other load slows the
implementations very differently.
"""

import contextlib
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from benchmarks import line_protocol, machine
from core import checks, progress
from scripts import command_line

_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", None, "Interpreter of the environment with benchmarks/peers/requirements.txt."
)
_PEER = flags.DEFINE_string("peer", "tianshou_rainbow", "A file of benchmarks/peers/.")
_CONFIG = flags.DEFINE_string("config", "configs/rainbow.py", "Ours: a file of configs/.")
_NUM_ENVS = flags.DEFINE_integer("num_envs", 16, "Ours: environments.", lower_bound=1)
_PEER_NUM_ENVS = flags.DEFINE_integer("peer_num_envs", 10, "The peer's.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Of a turn.", lower_bound=1.0)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Turns of each in a launch.", lower_bound=1)
_LAUNCHES = flags.DEFINE_integer("launches", 3, "Times all are started anew.", lower_bound=1)
_PLATFORM = flags.DEFINE_enum("platform", "cpu", ["cpu", "gpu"], "Where to compute.")
_CAPACITY = flags.DEFINE_integer("replay_capacity", 20_000, "Of both.", lower_bound=1_000)
_WARM_UP = flags.DEFINE_integer(
    "warm_up_steps", 3_000, "Of both, before learning.", lower_bound=500
)
_PEER_KEEPS_MEMORY = flags.DEFINE_bool(
    "peer_keeps_freed_memory",
    False,
    "Give the peer the allocator settings that training/system/jax_platform.py makes for ours.",
)
_BASELINE = flags.DEFINE_string(
    "baseline", None, "A checkout of another commit of this project, to be measured as well."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; a table goes beside it (.md).")

_ROOT = Path(__file__).resolve().parents[1]
_OURS, _BEFORE = "ours", "baseline"
# The share of the cores that other processes may have.
_MAX_DISTURBANCE = 0.05


class Turn(NamedTuple):
    """A worker's window, and what other processes did meanwhile.

    Attributes:
      window: what the worker did.
      disturbance: the share of the cores that others had; nan where unknown.
    """

    window: line_protocol.Window
    disturbance: float


Repeat = Mapping[str, Turn]


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    commands = _commands()
    outputs = machine.output_paths(_OUTPUT.value)
    try:
        descriptions, repeats = _measure(commands)
    except line_protocol.WorkerError as error:
        print(error.output, file=sys.stderr)
        command_line.fail(str(error))
    report = {
        "machine": machine.describe(),
        "seconds": _SECONDS.value,
        "workers": descriptions,
        "summary": summarize(repeats),
        "repeats": [
            {name: {**t.window._asdict(), "disturbance": t.disturbance} for name, t in r.items()}
            for r in repeats
        ],
    }
    _show(report)
    machine.write(outputs, report, _markdown(report))


class Command(NamedTuple):
    """A worker's command line, and the directory in which it is started."""

    arguments: list[str]
    directory: Path


def _commands() -> dict[str, Command]:
    """By worker's name; raises ConfigError for flags that can't be used."""
    shared = [
        f"--replay_capacity={_CAPACITY.value}",
        f"--warm_up_steps={_WARM_UP.value}",
    ]
    ours = [sys.executable, "-m", "benchmarks.our_worker", f"--config={_CONFIG.value}"]
    ours += [f"--num_envs={_NUM_ENVS.value}", *shared]
    if _PLATFORM.value != "cpu":  # the default, and all that older checkouts know
        ours.append(f"--platform={_PLATFORM.value}")
    commands = {_OURS: Command(ours, _ROOT)}
    if _BASELINE.value is not None:
        directory = Path(_BASELINE.value).resolve()
        if not (directory / "benchmarks" / "our_worker.py").is_file():
            raise checks.ConfigError(f"baseline = {_BASELINE.value!r}: expected a checkout")
        commands[_BEFORE] = Command(ours, directory)
    known = sorted(path.stem for path in (_ROOT / "benchmarks" / "peers").glob("*_rainbow.py"))
    if _PEER.value not in known:
        raise checks.ConfigError(f"peer = {_PEER.value!r}: expected one of {', '.join(known)}")
    if _PEER_PYTHON.value is None:
        return commands
    # Not resolved: the link's place is what makes it an environment's interpreter.
    python = Path(_PEER_PYTHON.value).absolute()
    if not os.access(python, os.X_OK) or python.is_dir():
        raise checks.ConfigError(f"peer_python = {str(python)!r}: expected a Python interpreter")
    peer = [str(python), "-m", f"benchmarks.peers.{_PEER.value}"]
    device = "cuda" if _PLATFORM.value == "gpu" else "cpu"
    peer += [f"--num_envs={_PEER_NUM_ENVS.value}", f"--device={device}", *shared]
    commands[_PEER.value] = Command(peer, _ROOT)
    return commands


def _measure(commands: Mapping[str, Command]) -> tuple[dict[str, Any], list[Repeat]]:
    """The workers' descriptions, and the turns of each repeat."""
    descriptions, repeats = {}, []
    for launch in range(_LAUNCHES.value):
        print(f"launch {launch + 1} of {_LAUNCHES.value}", file=sys.stderr)
        descriptions = _measure_launch(commands, repeats)
    return descriptions, repeats


def _measure_launch(commands: Mapping[str, Command], repeats: list[Repeat]) -> dict[str, Any]:
    """Starts all workers, appends their turns, and returns their descriptions."""
    with contextlib.ExitStack() as stack:
        workers = []
        for name, command in commands.items():
            print(f"warming up {name} ...", file=sys.stderr)
            keeps_memory = name == _PEER.value and _PEER_KEEPS_MEMORY.value
            variables = machine.KEEP_FREED_MEMORY if keeps_memory else None
            workers.append(line_protocol.Worker(name, *command, variables))
            stack.callback(workers[-1].close)
        _check_same_work(workers)
        for number in progress.track(range(_REPEATS.value), "repeat"):
            order = workers if number % 2 == 0 else workers[::-1]
            turns = {worker.name: _take_turn(worker) for worker in order}
            repeats.append({name: turns[name] for name in commands})
            _show_repeat(number, repeats[-1])
        return {worker.name: worker.description for worker in workers}


def _check_same_work(workers: Sequence[line_protocol.Worker]) -> None:
    """Raises ConfigError if the workers say that they do different things."""
    ours = workers[0].description["work"]
    for worker in workers[1:]:
        for key, value in worker.description["work"].items():
            if ours.get(key) != value:
                raise checks.ConfigError(
                    f"config = {_CONFIG.value!r}: {key} is {ours.get(key)}, but {value} in "
                    f"{worker.name}: not the same work"
                )


def _take_turn(worker: line_protocol.Worker) -> Turn:
    begin = machine.busy_seconds()
    window = worker.run(_SECONDS.value)
    others = max(0.0, machine.busy_seconds() - begin - window.cpu_seconds)
    return Turn(window, others / (window.seconds * (os.cpu_count() or 1)))


def summarize(repeats: Sequence[Repeat]) -> dict[str, Any]:
    """Medians over the repeats that were left undisturbed.

    Args:
      repeats: the turns of each, ours first.

    Returns:
      The number of repeats that count; per worker the spread of agent steps per second, the median
      updates per second and the peak memory; per other worker the spread of the repeats' ratios
      ours / other. Workers and ratios are missing if none counts.
    """
    counted = [r for r in repeats if not any(t.disturbance > _MAX_DISTURBANCE for t in r.values())]
    summary: dict[str, Any] = {"repeats_counted": len(counted)}
    if not counted:
        return summary
    names = list(counted[0])
    summary["workers"] = {
        name: _summarize_worker([r[name].window for r in counted]) for name in names
    }
    summary["ratios"] = {
        name: machine.spread([_speed(r[_OURS].window) / _speed(r[name].window) for r in counted])
        for name in names[1:]
    }
    return summary


def _summarize_worker(windows: Sequence[line_protocol.Window]) -> dict[str, Any]:
    return {
        "agent_steps_per_second": machine.spread([_speed(w) for w in windows]),
        "updates_per_second": statistics.median(w.updates / w.seconds for w in windows),
        "peak_memory_mb": max(w.peak_memory_mb for w in windows),
    }


def _speed(window: line_protocol.Window) -> float:
    return window.agent_steps / window.seconds


def _show_repeat(number: int, repeat: Repeat) -> None:
    speeds = [f"{name} {_speed(turn.window):.1f} agent steps/s" for name, turn in repeat.items()]
    disturbance = max(turn.disturbance for turn in repeat.values())
    note = ""
    if disturbance > _MAX_DISTURBANCE:
        note = f"; left out: others had {disturbance:.0%} of the cores"
    print(f"repeat {number + 1} of {_REPEATS.value}: {', '.join(speeds)}{note}", file=sys.stderr)


def _show(report: Mapping[str, Any]) -> None:
    """Prints the table and the ratio; exits with an error if no repeat counts."""
    summary = report["summary"]
    if "workers" not in summary:
        command_line.fail(
            f"other processes had more than {_MAX_DISTURBANCE:.0%} of the cores in each of the "
            f"{len(report['repeats'])} repeats: nothing to report, try again on an idle machine"
        )
    print("\n".join(_table(report)))
    print(_verdict(summary))


def _table(report: Mapping[str, Any]) -> list[str]:
    """The lines of a markdown table, one row per worker."""
    lines = [
        "| implementation | settings | agent steps/s (least to greatest) | updates/s | peak MiB |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["summary"]["workers"].items():
        speed = row["agent_steps_per_second"]
        lines.append(
            f"| {name} | {report['workers'][name]['settings']} "
            f"| {speed['median']:.1f} ({speed['least']:.1f} to {speed['greatest']:.1f}) "
            f"| {row['updates_per_second']:.2f} | {row['peak_memory_mb']:.0f} |"
        )
    return lines


def _verdict(summary: Mapping[str, Any]) -> str:
    if not summary["ratios"]:
        return "only ours was measured: give --peer_python for a ratio (benchmarks/peers/README.md)"
    return "\n".join(
        f"ratio ours / {name}: {ratio['median']:.2f} (quartiles {ratio['first_quartile']:.2f} and "
        f"{ratio['third_quartile']:.2f}; {ratio['least']:.2f} to {ratio['greatest']:.2f}), median "
        f"of {summary['repeats_counted']} repeats"
        for name, ratio in summary["ratios"].items()
    )


def _markdown(report: Mapping[str, Any]) -> str:
    """The table with what it was measured on."""
    measured_on = report["machine"]
    versions = [
        f"{name}: " + ", ".join(f"{p} {v}" for p, v in worker["versions"].items())
        for name, worker in report["workers"].items()
    ]
    where = (
        f"{measured_on['processor']}, {measured_on['cores']} cores, {measured_on['date']}, commit "
        f"{measured_on['commit']}; turns of {report['seconds']:g} s."
    )
    lines = [*_table(report), "", _verdict(report["summary"]), "", where, "", *versions]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main)

"""The closed loop beside the loop over single steps, on the same configuration.

    python -m benchmarks.loops --config=cartpole_stream --output=loops.json

Beside them are the updates alone, which no loop can be faster than, and with --peer_python rejax's
closed loop (benchmarks/peers/README.md). All are compiled and have a filled replay before they are
timed, in turns of one after the other, so that their ratios do not depend on what else the machine
does. Nothing is logged or saved.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import line_protocol, machine, prepared
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

_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", None, "Interpreter of the environment with benchmarks/peers/rejax.txt."
)
_PEER_SECONDS = 2.0
_SINGLE, _CLOSED, _ALONE, _PEER = "single steps", "closed", "updates alone", "rejax, closed"


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    outputs = machine.output_paths(_OUTPUT.value)
    jax_platform.set_up("auto")
    with contextlib.ExitStack() as stack:
        single, closed = _make(1), _make(_STEPS.value)
        loops = {_SINGLE: _prepare(single), _CLOSED: _prepare(closed), _ALONE: _updates_of(single)}
        if _PEER_PYTHON.value is not None:
            worker = stack.enter_context(_start_peer(_PEER_PYTHON.value, _settings(1)))
            loops[_PEER] = lambda: _rates(worker.run(_PEER_SECONDS))
        turns = [
            {name: play() for name, play in loops.items()}
            for _ in progress.track(range(_TURNS.value), "turn")
        ]
    rates = {
        f"{name}: {unit}": machine.spread([turn[name][i] for turn in turns])
        for name in loops
        for i, unit in enumerate(("updates/s", "environment steps/s"))
        if turns[0][name][i]
    }
    ratios = {
        f"{_CLOSED} / {name}": machine.spread(
            [turn[_CLOSED].updates / turn[name].updates for turn in turns]
        )
        for name in loops
        if name != _CLOSED
    }
    report = {
        "machine": {**machine.describe(), "device": jax_platform.describe_device()},
        "config": f"{_CONFIG.value}:{_ARGUMENT.value}",
        "rates": rates,
        "ratios": ratios,
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


def _prepare(loop: agent_loop.AgentLoop) -> Callable[[], prepared.Rates]:
    """Plays a turn of a loop, whose replay is filled and whose programs are compiled."""
    play = functools.partial(_play, loop)
    play()
    play()
    return play


def _updates_of(loop: agent_loop.AgentLoop) -> Callable[[], prepared.Rates]:
    """As many updates as a turn of the loop has, in one call, on a copy of its state."""
    number = _STEPS.value * loop.num_envs // _settings(1).training.update_period_frames
    state = jax.tree.map(jnp.copy, loop.state)

    def update() -> prepared.Rates:
        nonlocal state
        begin = time.perf_counter()
        state, _ = loop.experiment.learner.learn(state, number)
        jax.block_until_ready(state)
        return prepared.Rates(number / (time.perf_counter() - begin), 0.0)

    update()
    return update


def _play(loop: agent_loop.AgentLoop) -> prepared.Rates:
    """Updates and environment steps, which are its frames, a second of one turn."""
    counters = loop.counts.counters
    end = counters["played_frames"] + _STEPS.value * loop.num_envs
    return prepared.play(loop, lambda: counters["played_frames"] < end)


@contextlib.contextmanager
def _start_peer(python: str, settings: run_settings.RunSettings) -> Iterator[line_protocol.Worker]:
    """The peer at the sizes of a run of settings; raises WorkerError if it does not start."""
    network: Any = settings.network
    periods = settings.training
    sizes = {
        "num_envs": settings.num_envs,
        "updates": settings.num_envs // periods.update_period_frames,
        "iterations": _STEPS.value,
        "capacity": settings.replay.capacity,
        "batch_size": settings.replay.batch_size,
        "target_period": periods.target_update_period_frames,
        "width": network.head.hidden_size,
    }
    command = [str(Path(python).absolute()), "-m", "benchmarks.peers.rejax_dqn"]
    command += [f"--{name}={value}" for name, value in sizes.items()]
    with contextlib.closing(line_protocol.Worker("rejax_dqn", command, machine.ROOT)) as worker:
        yield worker


def _rates(window: line_protocol.Window) -> prepared.Rates:
    return prepared.Rates(window.updates / window.seconds, window.agent_steps / window.seconds)


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [
        f"{report['config']}, {report['machine']['device']}, {report['machine']['processor']}",
        "",
        "| | median | quartiles |",
        "|---|---|---|",
    ]
    for kind, digits in (("rates", 0), ("ratios", 2)):
        lines += [
            f"| {name} | {x['median']:.{digits}f} | "
            f"{x['first_quartile']:.{digits}f} to {x['third_quartile']:.{digits}f} |"
            for name, x in report[kind].items()
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main)

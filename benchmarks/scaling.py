"""What benchmarks.scale varies, how a row is measured, and how what is measured grows."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import line_protocol, prepared
from training import closed_loop
from training import experiment as experiment_lib
from training.system import jax_platform

_WARM_UP_UPDATES = 20
_WARM_UP_ITERATIONS = 3


class Group(NamedTuple):
    """Rows that differ in one key.

    Attributes:
      config: a file of configs/.
      argument: of the config.
      key: that is varied, without the configuration's name.
      values: of the key, in rising order.
      changes: of other keys, for all rows.
    """

    config: str
    argument: str
    key: str
    values: Sequence[Any]
    changes: Mapping[str, Any]


_OPEN = {"replay.capacity": 20_000, "replay.min_size": 4_000}
_CARTPOLE = {"replay.capacity": 20_000, "replay.min_size": 1_000}
_SINGLE_STEPS = {**_CARTPOLE, "training.steps_per_call": 1}
_SEEDS = ("num_seeds", (1, 2, 4, 8))

GROUPS: Mapping[str, Group] = {
    "environments": Group("data_efficient_nap", "pong", "num_envs", (1, 4, 16, 64, 128), _OPEN),
    "replay": Group(
        "data_efficient_nap",
        "pong",
        "replay.capacity",
        (10_000, 100_000, 1_000_000),
        {"replay.min_size": 2_000},
    ),
    "seeds": Group("data_efficient_nap", "pong", *_SEEDS, _OPEN),
    # Pong has 6 of the 18.
    "actions": Group(
        "data_efficient_nap", "pong", "environment.full_action_space", (False, True), _OPEN
    ),
    "seeds, single steps": Group("cartpole_stream", "c51:plain", *_SEEDS, _SINGLE_STEPS),
    "seeds, closed loop": Group("cartpole_stream", "c51:plain", *_SEEDS, _CARTPOLE),
}


def measure(
    config: str, argument: str, changes: Mapping[str, Any], seconds: float
) -> dict[str, float]:
    """Frames and updates a second of all seeds together, and this process's peak MiB."""
    jax_platform.set_up("auto")
    never = {"evaluation.period_frames": 0, "log.layers_period_frames": 0, "num_frames": 10**12}
    settings = prepared.settings_of(config, argument, {**never, **changes})
    loop = closed_loop.make(settings, experiment_lib.make(settings))
    loop.begin()
    counters = loop.counts.counters
    prepared.play(loop, lambda: counters["updates"] < _WARM_UP_UPDATES)
    # With many environments one iteration was enough; others may have other numbers of updates, and
    # so a program of their own.
    prepared.play(loop, iter([*[True] * _WARM_UP_ITERATIONS, False]).__next__)
    end = time.perf_counter() + seconds
    rates = prepared.play(loop, lambda: time.perf_counter() < end)
    return {
        "frames_per_second": settings.num_seeds * rates.frames,
        "updates_per_second": settings.num_seeds * rates.updates,
        "peak_memory_mb": line_protocol.own_peak_kib() / 1024,
    }


def growth(values: Sequence[float], rows: Sequence[Mapping[str, float]]) -> str:
    """How memory and speed grow with the values, in words.

    Memory in MiB as a + b x by least squares; frames a second as x^p, the slope of logarithms.
    """
    slope, start = np.polyfit(values, [row["peak_memory_mb"] for row in rows], 1)
    speeds = np.log([row["frames_per_second"] for row in rows])
    exponent = np.polyfit(np.log(values), speeds, 1)[0]
    return f"memory {start:.0f} + {slope:.3g} x MiB; frames/s x^{exponent:.2f}"


def format_table(report: Mapping[str, Any]) -> str:
    """A markdown table of all groups."""
    lines = [json.dumps(report["machine"]), ""]
    lines += ["| | value | frames/s | updates/s | peak MiB |", "|---|---|---|---|---|"]
    for name, group in report["groups"].items():
        rows = group["rows"]
        for row in rows:
            lines.append(
                f"| {name}: `{group['key']}` | {row['value']} | {row['frames_per_second']:.0f} "
                f"| {row['updates_per_second']:.1f} | {row['peak_memory_mb']:.0f} |"
            )
        values = [row["value"] for row in rows]
        if not isinstance(values[0], bool) and len(values) > 2:
            lines.append(f"| {name}, {group['config']} | {growth(values, rows)} | | | |")
    return "\n".join(lines) + "\n"

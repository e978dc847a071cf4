"""Speed of the parts of a training step on this machine, as medians of several repeats.

    python -m benchmarks.components --output=components.md

Environment steps, acting, the replay's operations and the learner's update at full size. The
update is measured beside its variants (a plain formulation, other configs) in alternating turns, so
that their ratio does not depend on what else the machine does.
"""

import json
import os
import resource
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags

from benchmarks import parts, prepared
from core import progress
from scripts import command_line
from training import run_settings
from training.system import jax_platform

_REPEATS = flags.DEFINE_integer("repeats", 15, "Measurements of each part.", lower_bound=3)
_CAPACITY = flags.DEFINE_integer(
    "capacity", 50_000, "Transitions in the replay.", lower_bound=20_000
)
_GAME = flags.DEFINE_string("game", "pong", "The game.")
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")
_OUTPUT = flags.DEFINE_string("output", None, "Write the table to this file too.")

_VARIANTS = {
    "rainbow": ("rainbow", {}),
    "rainbow, XLA's own convolutions": ("rainbow", {"network.torso.formulation": "lax"}),
    "rainbow_ln": ("rainbow_ln", {}),
    "rainbow_nap": ("rainbow_nap", {}),
}


def main(argv: Sequence[str]) -> None:
    """Measures everything and prints a table."""
    del argv
    jax_platform.set_up(_PLATFORM.value)
    rows = [
        *parts.measure_environments(settings_of, _REPEATS.value),
        *parts.measure_acting(settings_of, _REPEATS.value),
        *measure_replay(),
        *measure_updates(),
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(("peak memory of this process", peak, "MB"))
    table = format_table(rows)
    print(table)
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text(table + "\n")


def measure_replay() -> list[parts.Row]:
    """Drawing 32 transitions with their frames, and 32 new priorities."""
    ready = prepared.Prepared(settings_of("rainbow", {}))
    replay = ready.experiment.learner.replay
    state = jax.tree.map(lambda x: x if x.ndim == 0 else x[0], ready.state.replay)
    state = state._replace(max_priority=ready.state.replay.max_priority[0])
    rng = jax.random.key(0)
    sample = jax.jit(lambda s, r: replay.sample(s, r, 32))
    # The tree alone: the state of which it is a part would be copied, frames and all.
    update = jax.jit(lambda s, k, p: replay.update_priorities(s, k, p).tree)
    drawn = sample(state, rng)
    priorities = np.ones(32, np.float32)
    return [
        ("replay: sample 32", 1e3 * _median_seconds(lambda: sample(state, rng)), "ms"),
        (
            "replay: new priorities 32 (tree copied)",
            1e3 * _median_seconds(lambda: update(state, drawn.keys, priorities)),
            "ms",
        ),
    ]


def measure_updates() -> list[parts.Row]:
    """Milliseconds per update, four to a call; the variants take turns."""
    learners = {
        name: prepared.Prepared(settings_of(config, changes))
        for name, (config, changes) in _VARIANTS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    for learner in learners.values():
        learner.learn(4)
    for _ in progress.track(range(_REPEATS.value), "repeat"):
        for name, learner in learners.items():
            seconds[name].append(prepared.seconds(lambda part=learner: part.learn(4)) / 4)
    first = next(iter(learners))
    rows = []
    for name, values in seconds.items():
        ratio = statistics.median(x / y for x, y in zip(values, seconds[first]))
        unit = f"ms ({ratio:.2f} x {first})"
        rows.append((f"update, {name}", 1e3 * statistics.median(values), unit))
    return rows


def settings_of(name: str, changes: Mapping[str, object]) -> run_settings.RunSettings:
    """The settings of configs/`name`.py on the flags' game, with their capacity."""
    return prepared.settings_of(name, _GAME.value, {"replay.capacity": _CAPACITY.value, **changes})


def _median_seconds(call: Callable[[], object]) -> float:
    return prepared.median_seconds(call, _REPEATS.value)


def format_table(rows: Sequence[parts.Row]) -> str:
    """The rows as a Markdown table, with the hardware and versions above it."""
    machine = {
        "device": jax_platform.describe_device(),
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "repeats": _REPEATS.value,
    }
    lines = [json.dumps(machine), "", "| part | median | unit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.4g} | {unit} |" for name, value, unit in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)

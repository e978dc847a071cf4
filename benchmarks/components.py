"""Speed of the parts of a training step on this machine, as medians of several repeats.

    python -m benchmarks.components --output=components.md

Environment steps, acting, the replay's operations and the learner's update at full size. The
update is measured beside its variants (a plain formulation, other configs) in alternating turns, so
that their ratio does not depend on what else the machine does.
"""

import importlib
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags

from envs import base as envs_base
from scripts import command_line
from training import derived, run_settings
from training import experiment as experiment_lib
from training.system import jax_platform

_REPEATS = flags.DEFINE_integer("repeats", 15, "Measurements of each part.", lower_bound=3)
_CAPACITY = flags.DEFINE_integer("capacity", 50_000, "Transitions in the replay.", lower_bound=5000)
_GAME = flags.DEFINE_string("game", "pong", "The game.")
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")
_OUTPUT = flags.DEFINE_string("output", None, "Write the table to this file too.")

_VARIANTS = {
    "rainbow": ("rainbow", {}),
    "rainbow, XLA's own convolutions": ("rainbow", {"network.torso.formulation": "lax"}),
    "rainbow_ln": ("rainbow_ln", {}),
    "rainbow_nap": ("rainbow_nap", {}),
}

Row = tuple[str, float, str]


def main(argv: Sequence[str]) -> None:
    """Measures everything and prints a table."""
    del argv
    jax_platform.set_up(_PLATFORM.value)
    rows = [*measure_environments(), *measure_acting(), *measure_replay(), *measure_updates()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(("peak memory of this process", peak, "MB"))
    table = format_table(rows)
    print(table)
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text(table + "\n")


def measure_environments() -> list[Row]:
    """Agent steps per second of random play, with as many emulator threads as cores."""
    rows = []
    settings = _settings("rainbow", {})
    for num_envs in (1, 16, 64):
        environment = envs_base.make(settings.environment, num_envs, seed=1)
        environment.reset()
        rng = np.random.default_rng(0)
        num_actions = environment.action_spec().num_values

        def steps(environment=environment, num_envs=num_envs, rng=rng, num_actions=num_actions):
            for _ in range(max(1, 800 // num_envs)):
                environment.step(rng.integers(num_actions, size=num_envs, dtype=np.int32))

        seconds = _median_seconds(steps)
        speed = max(1, 800 // num_envs) * num_envs / seconds
        rows.append((f"environment, {num_envs} environments", speed, "agent steps/s"))
        environment.close()
    return rows


def measure_acting() -> list[Row]:
    """Recording a time step of N environments and choosing their actions, the actions fetched."""
    rows = []
    for num_envs in (1, 16, 64):
        prepared = _Prepared(_settings("rainbow", {"num_envs": num_envs}), num_steps=8)
        milliseconds = 1e3 * _median_seconds(prepared.observe)
        rows.append((f"act and add to the replay, {num_envs} environments", milliseconds, "ms"))
    return rows


def measure_replay() -> list[Row]:
    """Drawing 32 transitions with their frames, and 32 new priorities."""
    prepared = _Prepared(_settings("rainbow", {}))
    replay = prepared.experiment.learner.replay
    state = jax.tree.map(lambda x: x if x.ndim == 0 else x[0], prepared.state.replay)
    state = state._replace(max_priority=prepared.state.replay.max_priority[0])
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


def measure_updates() -> list[Row]:
    """Milliseconds per update, four to a call; the variants take turns."""
    prepared = {
        name: _Prepared(_settings(config, changes), num_steps=64)
        for name, (config, changes) in _VARIANTS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in prepared}
    for part in prepared.values():
        part.learn()
    for _ in range(_REPEATS.value):
        for name, part in prepared.items():
            seconds[name].append(_seconds(part.learn) / 4)
    first = next(iter(prepared))
    rows = []
    for name, values in seconds.items():
        ratio = statistics.median(x / y for x, y in zip(values, seconds[first]))
        unit = f"ms ({ratio:.2f} x {first})"
        rows.append((f"update, {name}", 1e3 * statistics.median(values), unit))
    return rows


class _Prepared:
    """A learner with something in its replay."""

    def __init__(self, settings: run_settings.RunSettings, num_steps: int = 64):
        self.experiment = experiment_lib.make(settings)
        environment = self.experiment.environment
        timestep = environment.reset()
        self._observed = experiment_lib.observed(timestep, self.experiment.learner)
        self.state = self.experiment.learner.init(1, self._observed.observation)
        for _ in range(num_steps):
            actions = self.observe()
            timestep = environment.step(actions)
            self._observed = experiment_lib.observed(timestep, self.experiment.learner)
        environment.close()

    def observe(self) -> np.ndarray:
        self.state, actions = self.experiment.learner.observe(self.state, self._observed)
        return np.asarray(actions).reshape(-1)

    def learn(self) -> jax.Array:
        self.state, metrics = self.experiment.learner.learn(self.state, 4)
        return metrics["loss"]


def _settings(name: str, changes: dict[str, object]) -> run_settings.RunSettings:
    config = importlib.import_module(f"configs.{name}").get_config(_GAME.value)
    config.update_from_flattened_dict({"replay.capacity": _CAPACITY.value, **changes})
    return run_settings.parse(derived.resolve(config))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _median_seconds(call: Callable[[], object]) -> float:
    call()
    return statistics.median(_seconds(call) for _ in range(_REPEATS.value))


def format_table(rows: Sequence[Row]) -> str:
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

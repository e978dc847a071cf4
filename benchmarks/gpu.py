"""What a GPU makes of the learner: updates, kernels, acting, emulators, and a forecast.

    python -m benchmarks.gpu --output=gpu.json

Each variant's update is timed in turn with the others, 16 updates to a call, as medians with
quartiles. A trace of one call of each tells how many kernels an update has and what they take; the
kernels that take longest are listed by name. benchmarks.end_to_end --platform=gpu measures whole
training.
"""

import collections
import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
from absl import flags

from benchmarks import kernels, machine, parts, prepared
from core import progress
from scripts import command_line
from training import run_settings
from training.system import jax_platform

_GAME = flags.DEFINE_string("game", "pong", "The game.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Measurements of each part.", lower_bound=3)
_CAPACITY = flags.DEFINE_integer(
    "capacity", 50_000, "Transitions in the replay.", lower_bound=20_000
)
_UPDATES = flags.DEFINE_integer("updates", 16, "Of a call.", lower_bound=1)
_PLATFORM = flags.DEFINE_enum("device", "gpu", ["gpu", "cpu"], "cpu: to try this program.")
_ONLY = flags.DEFINE_list("only", [], "Measure these variants; none: all.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; a table goes beside it (.md).")

_LAX = {"network.torso.formulation": "lax"}
_VARIANTS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "rainbow": ("rainbow", {}, "default"),
    "rainbow_reference": ("rainbow", {"formulation": "reference"}, "default"),
    "rainbow_pallas": ("rainbow", {"formulation": "pallas"}, "default"),
    "rainbow_cudnn": ("rainbow", _LAX, "default"),
    "rainbow_cudnn_float32": ("rainbow", _LAX, "float32"),
    "rainbow_nap": ("rainbow_nap", {}, "default"),
    "rainbow_nap_reference": ("rainbow_nap", {"formulation": "reference"}, "default"),
    "rainbow_nap_cudnn": ("rainbow_nap", _LAX, "default"),
    "rainbow_nap_cudnn_4_seeds": ("rainbow_nap", {**_LAX, "num_seeds": 4}, "default"),
    "rainbow_nap_cudnn_8_seeds": ("rainbow_nap", {**_LAX, "num_seeds": 8}, "default"),
    "data_efficient_nap": ("data_efficient_nap", {}, "default"),
}
"""By name: a file of configs/, changes of it, and the precision of products."""


def main(argv: Sequence[str]) -> None:
    """Measures, prints the tables and writes the files."""
    del argv
    outputs = machine.output_paths(_OUTPUT.value)
    jax_platform.set_up(_PLATFORM.value)
    learners = _prepare()
    report = {
        "machine": {**machine.describe(), "gpu": jax_platform.describe_device()},
        "jax": jax.__version__,
        "updates": _measure_updates(learners),
        "kernels": {name: _trace(name, learners[name])._asdict() for name in learners},
    }
    learners.clear()
    report["parts"] = [
        *parts.measure_environments(_settings_of, _REPEATS.value),
        *parts.measure_acting(_settings_of, _REPEATS.value),
    ]
    text = _markdown(report)
    print(text)
    machine.write(outputs, report, text)


def _settings_of(name: str, changes: Mapping[str, object]) -> run_settings.RunSettings:
    return prepared.settings_of(name, _GAME.value, {"replay.capacity": _CAPACITY.value, **changes})


def _prepare() -> dict[str, prepared.Prepared]:
    """Learners by variant, compiled side by side: the compiler is the slow part."""
    names = machine.choose("only", _ONLY.value, list(_VARIANTS))
    with futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(_prepare_one, names)))


def _prepare_one(name: str) -> prepared.Prepared:
    config, changes, _ = _VARIANTS[name]
    learner = prepared.Prepared(_settings_of(config, changes), num_steps=64)
    _learn(name, learner)
    return learner


def _learn(name: str, learner: prepared.Prepared) -> jax.Array:
    # A setting of the calling thread, and part of the compiled program's key.
    with jax.default_matmul_precision(jax_platform.PRECISIONS[_VARIANTS[name][2]] or "default"):
        return learner.learn(_UPDATES.value)


def _measure_updates(learners: Mapping[str, prepared.Prepared]) -> dict[str, Any]:
    """Microseconds of an update by variant, as spreads; the variants take turns."""
    seconds: dict[str, list[float]] = collections.defaultdict(list)
    for _ in progress.track(range(_REPEATS.value), "repeat"):
        for name, learner in learners.items():
            seconds[name].append(prepared.seconds(lambda n=name, part=learner: _learn(n, part)))
    scale = 1e6 / _UPDATES.value
    return {name: machine.spread([scale * s for s in values]) for name, values in seconds.items()}


def _trace(name: str, learner: prepared.Prepared) -> kernels.Kernels:
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            jax.block_until_ready(_learn(name, learner))
        path = next(Path(directory).rglob("*.xplane.pb"))
        return kernels.read(jax.profiler.ProfileData.from_file(str(path)), _UPDATES.value)


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [json.dumps({**report["machine"], "jax": report["jax"]}), ""]
    lines += [
        "| update | us (quartiles) | a seed's share | kernels | us in kernels | 200M frames |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for name, spread in report["updates"].items():
        seeds = _VARIANTS[name][1].get("num_seeds", 1)
        traced = report["kernels"][name]
        config, changes, _ = _VARIANTS[name]
        period_frames = _settings_of(config, changes).training.update_period_frames
        hours = spread["median"] * 1e-6 * 200e6 / period_frames / 3600
        lines.append(
            f"| {name} | {spread['median']:.0f} ({spread['first_quartile']:.0f} to "
            f"{spread['third_quartile']:.0f}) | {spread['median'] / seeds:.0f} | "
            f"{traced['number']:.0f} | {traced['microseconds']:.0f} | {hours:.1f} h |"
        )
    lines += ["", "| part | median | unit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.4g} | {unit} |" for name, value, unit in report["parts"]]
    for name, traced in report["kernels"].items():
        lines += ["", f"Longest kernels of {name}:", "", "| kernel | us an update |", "|---|---|"]
        lines += [f"| {kernel[:90]} | {us:.1f} |" for kernel, us in traced["longest"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)

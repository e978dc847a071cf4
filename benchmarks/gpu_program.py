"""What XLA makes of acting and learning for an H100, without one: kernels, bytes, a cost model.

    python -m benchmarks.gpu_program --configs=rainbow,rainbow_nap --num_seeds=1,8

Nothing runs and nothing is measured: programs are compiled (half a minute each) and their text is
read. `learn` is counted per update, `act` (Learner.observe) per call. It needs the extra
`gpu-program`, in an environment whose JAX has no other plug-in for GPUs.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import prepared
from benchmarks.compiled import hlo, kernel_count, target
from core import checks, formulations, progress
from envs import base as envs_base
from scripts import command_line
from training import experiment, run_settings
from training.learning import replay_learner
from training.system import jax_platform

CONFIGS = ("rainbow", "rainbow_nap", "continual_nap", "data_efficient_nap")
PROGRAMS = ("act", "learn")

_CONFIGS = flags.DEFINE_list("configs", list(CONFIGS), "Files of configs/, without .py.")
_NUM_SEEDS = flags.DEFINE_list("num_seeds", ["1", "8"], "Seeds in one program.")
_PROGRAMS = flags.DEFINE_list("programs", list(PROGRAMS), "act, learn.")
_SET = flags.DEFINE_list("set", [], "Keys to change: network.torso.formulation=lax, for example.")
_CAPACITY = flags.DEFINE_integer("capacity", 100_000, "Transitions in each replay.", lower_bound=1)
_UPDATES = flags.DEFINE_integer("updates", 16, "Of a call of learn.", lower_bound=2)
_TEXT_DIR = flags.DEFINE_string("text_dir", None, "Directory for the programs' texts.")
_OUTPUT = flags.DEFINE_string("output", None, "CSV file to write.")


@dataclasses.dataclass(frozen=True)
class Row:
    """A program and its counts, per update or, for acting, per call."""

    config: str
    changes: str
    num_seeds: int
    program: str
    kernels: float
    products: float
    megabytes: float
    microseconds: float
    microseconds_per_seed: float


def main(argv: Sequence[str]) -> None:
    """Compiles, prints a row for each program, and writes the table."""
    del argv
    sharding = target.find()
    jax_platform.set_up("cpu")
    changes = _changes(_SET.value)
    rows = []
    print(",".join(field.name for field in dataclasses.fields(Row)))
    asked = [_CONFIGS.value, map(int, _NUM_SEEDS.value), _PROGRAMS.value]
    for config, seeds, program in progress.track(list(itertools.product(*asked)), "program"):
        text = compile_program(program, settings_of(config, seeds, changes), sharding)
        if _TEXT_DIR.value:
            (Path(_TEXT_DIR.value) / f"{config}_{seeds}_{program}.txt").write_text(text)
        rows.append(_row(config, seeds, program, count(program, text)))
        print(_line(rows[-1]), flush=True)
    if _OUTPUT.value:
        header = ",".join(field.name for field in dataclasses.fields(Row))
        Path(_OUTPUT.value).write_text("\n".join([header, *map(_line, rows)]) + "\n")


def settings_of(
    config: str, num_seeds: int, changes: dict[str, object]
) -> run_settings.RunSettings:
    """The settings of configs/`config`.py on Pong, or of its small sequence."""
    argument = "small" if config.startswith("continual") else "pong"
    more = {
        "num_seeds": num_seeds,
        "replay.capacity": _CAPACITY.value,
        # This process computes on a CPU.
        "formulation": formulations.resolve("auto", "gpu"),
        **changes,
    }
    return prepared.settings_of(config, argument, more)


def compile_program(
    program: str, settings: run_settings.RunSettings, sharding: jax.sharding.Sharding
) -> str:
    """The text of `act` or `learn` for a GPU.

    Raises:
      ConfigError: for another name.
    """
    if program not in PROGRAMS:
        raise checks.ConfigError(f"programs = {program!r}: expected act or learn")
    environment = envs_base.make(settings.environment, 1, settings.seed)
    spec, actions = environment.observation_spec(), environment.action_spec()
    environment.close()
    learner = experiment.make_learner(settings, spec, actions)
    shapes = experiment.learner_shapes(learner, spec)
    if program == "learn":
        learn = jax.jit(_without_jit(learner.learn), static_argnums=(1, 2), donate_argnums=0)
        copies = learner.copies_within(0, _UPDATES.value)
        return target.compile_text(learn, shapes, _UPDATES.value, copies, sharding=sharding)
    act = jax.jit(_without_jit(learner.observe), donate_argnums=0)
    observed = _observed_shapes((settings.num_seeds, settings.num_envs), spec.shape, spec.dtype)
    return target.compile_text(act, shapes, observed, sharding=sharding)


def _without_jit(jitted: Any) -> Callable[..., Any]:
    """The function in it: jitted, it has options for the CPU that is in use here."""
    return jitted.__wrapped__


def _observed_shapes(
    environments: tuple[int, int], shape: tuple[int, ...], dtype: np.dtype
) -> replay_learner.Observed:
    of = lambda dtype, shape: jax.ShapeDtypeStruct((*environments, *shape), dtype)  # noqa: E731
    return replay_learner.Observed(of(dtype, shape), of(np.float32, (4,)))


def count(program: str, text: str) -> kernel_count.Counts:
    """The counts per update of `learn`, or of a call of `act`."""
    found = hlo.parse(text)
    return (kernel_count.of_update if program == "learn" else kernel_count.of_program)(found)


def _row(config: str, seeds: int, program: str, found: kernel_count.Counts) -> Row:
    return Row(
        config=config,
        changes=" ".join(_SET.value),
        num_seeds=seeds,
        program=program,
        kernels=found.kernels,
        products=found.products,
        megabytes=round(found.num_bytes / 1e6, 1),
        microseconds=round(found.microseconds, 1),
        microseconds_per_seed=round(found.microseconds / seeds, 1),
    )


def _line(row: Row) -> str:
    return ",".join(map(str, dataclasses.astuple(row)))


def _changes(assignments: Sequence[str]) -> dict[str, object]:
    """Keys and values of KEY=VALUE; a number where it is one.

    Raises:
      ConfigError: for anything else.
    """
    changes: dict[str, object] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise checks.ConfigError(f"set = {assignment!r}: expected KEY=VALUE")
        changes[key] = int(value) if value.isdecimal() else value
    return changes


if __name__ == "__main__":
    command_line.run(main)

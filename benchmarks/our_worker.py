"""The worker that trains this project's agent: `training.loop.Run`, as scripts.train runs it.

Started by benchmarks.end_to_end. It does not evaluate, log or save: nor does the peer.
"""

import platform as python_platform
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from benchmarks import line_protocol
from scripts import command_line
from training import loop
from training.system import jax_platform

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.")
_NUM_ENVS = flags.DEFINE_integer("num_envs", 16, "Environments.", lower_bound=1)
_PLATFORM = flags.DEFINE_enum("platform", "cpu", ["cpu", "gpu"], "Where to compute.")
_CAPACITY = flags.DEFINE_integer("replay_capacity", 20_000, "In transitions.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up_steps", 3_000, "Before learning.", lower_bound=1)

_PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "ale-py", "numpy")
_NEVER = 10**15
# Enough to compile every number of updates that an iteration can have.
_WARM_UP_UPDATES = 20


def main(argv: Sequence[str]) -> None:
    """Warms up, and trains when told to."""
    del argv
    answers = line_protocol.claim_stdout()
    config = _without_pauses(command_line.load_config(_CONFIG))
    jax_platform.set_up(config.platform, config.precision)
    with tempfile.TemporaryDirectory() as directory:
        run = loop.Run(config, Path(directory) / "run")
        try:
            while run.counters["updates"] < _WARM_UP_UPDATES:
                run.iterate()
            line_protocol.serve(answers, _describe(run), lambda seconds: _train(run, seconds))
        finally:
            run.close()


def _without_pauses(config: Any) -> Any:
    """The configuration of a run that only acts and learns."""
    config.platform = _PLATFORM.value
    config.num_envs = _NUM_ENVS.value
    config.num_frames = _NEVER
    config.replay.capacity = _CAPACITY.value
    config.replay.min_size = _WARM_UP.value
    config.evaluation.period_frames = 0
    config.log.period_frames = _NEVER
    config.log.layers_period_frames = 0
    config.log.tensorboard = False
    config.snapshot.period_frames = _NEVER
    return config


def _train(run: loop.Run, seconds: float) -> line_protocol.Counts:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        run.iterate()
    jax.block_until_ready(run.loop.state)
    frames_per_step = run.experiment.environment.frames_per_step
    return line_protocol.Counts(run.counters["frames"] // frames_per_step, run.counters["updates"])


def _describe(run: loop.Run) -> dict[str, Any]:
    settings: Any = run.settings
    frames_per_step = settings.frames_per_step
    return {
        "settings": f"{settings.name}, {settings.num_envs} environments",
        "work": {
            "game": settings.environment.game,
            "batch_size": settings.replay.batch_size,
            "agent_steps_per_update": settings.training.update_period_frames // frames_per_step,
            "n_step": settings.transition.n_step,
            "num_atoms": settings.agent.num_atoms,
            "replay_capacity": settings.replay.capacity,
            "warm_up_steps": settings.replay.min_size,
        },
        "versions": {
            "python": python_platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }


if __name__ == "__main__":
    command_line.run(main)

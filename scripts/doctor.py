"""Says what this machine can do for a configuration, what is missing, and how long a run takes.

python -m scripts.doctor --config=configs/rainbow_nap.py:breakout

A line for each check; exit code 1 if a run of the configuration would not start or last.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import config_flags

from cluster import context
from cluster.doctor import finding, forecast, machine, replay_server, software
from core import checks
from envs import base as envs_base
from scripts import command_line
from training import derived, run_settings
from training import experiment as experiment_lib
from training.system import exit_codes, memory

_CONFIGS = Path(__file__).parents[1] / "configs"

_CONFIG = config_flags.DEFINE_config_file(
    "config", str(_CONFIGS / "rainbow_nap.py"), "The configuration that the machine is checked for."
)
_RUN_DIR = flags.DEFINE_string("run_dir", "runs", "Where the run's files are to go.")
_REPLAY_PYTHON = flags.DEFINE_string(
    "replay_python",
    str(context.REPLAY_PYTHON),
    "The interpreter of the replay server's environment.",
)
_SECONDS = flags.DEFINE_float(
    "seconds", 10.0, "How long to train for the forecast, after compiling; 0: no forecast.", 0.0
)


def main(argv: Sequence[str]) -> int:
    """Checks; returns 1 if something fails."""
    del argv
    settings = run_settings.parse(derived.resolve(command_line.load_config(_CONFIG)))
    failed = False
    for found in _findings(settings):
        print(found.line(), flush=True)
        failed |= found.level == finding.Level.FAILURE
    return exit_codes.FAILED if failed else 0


def _findings(settings: run_settings.RunSettings) -> Iterator[finding.Finding]:
    setup = "make setup, then source .venv/bin/activate"
    platform = settings.platform
    attempt = finding.attempt
    yield software.check_python()
    found = attempt(
        "jax",
        f"{setup}; or --config.platform=cpu",
        lambda: software.check_jax(platform, settings.precision),
    )
    yield found
    # Also where JAX has none: it tells why.
    yield attempt("gpu", "see the driver's tool nvidia-smi", lambda: software.check_gpu(platform))
    if found.level == finding.Level.FAILURE:
        return
    yield attempt("atari", setup, software.check_atari)
    if settings.environment.module != "atari":
        playing = functools.partial(software.check_environment, settings.environment)
        yield attempt("environment", "what the message asks for", playing)
    yield from _resources(settings)
    yield attempt(
        "replay server",
        "make clean-replay-env replay-env",
        lambda: replay_server.check(Path(_REPLAY_PYTHON.value)),
    )
    if _SECONDS.value:
        logging.info("training for the forecast: compiling comes first, and may take a minute")
        training = functools.partial(forecast.check, settings, _SECONDS.value)
        yield attempt("forecast", "what the message asks for", training)


def _resources(settings: run_settings.RunSettings) -> Iterator[finding.Finding]:
    try:
        spec, _ = envs_base.make_specs(settings.environment)
        replay = experiment_lib.make_replay(settings, spec)
    except checks.ConfigError as error:
        yield finding.Finding("memory", finding.Level.FAILURE, str(error), "a value that fits")
        return
    needed = memory.replay_bytes(replay, settings.num_seeds)
    num_envs = settings.num_seeds * settings.num_envs
    num_threads = getattr(settings.environment, "num_threads", 0)
    yield machine.check_memory(needed, settings.replay.capacity, settings.num_seeds)
    yield machine.check_cores(num_envs, num_threads)
    directory = Path(_RUN_DIR.value).absolute()
    yield finding.attempt(
        "disk", "another --run_dir", lambda: machine.check_disk(directory, needed)
    )


if __name__ == "__main__":
    command_line.run(main)

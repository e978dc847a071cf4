"""Trains an agent; the same command continues a run that was stopped or killed.

python -m scripts.train --config=configs/rainbow_nap.py:breakout --config.seed=2
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import config_flags

from scripts import command_line
from training.system import exit_codes

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/; file.py:GAME chooses the game, --config.KEY=VALUE a key."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Where the run's files go; default: runs/<config>/<game>/seed_<seed>."
)


def main(argv: Sequence[str]) -> int:
    """Trains; returns 0 when all frames are played and 3 when stopped early."""
    del argv
    config = command_line.load_config(_CONFIG)
    # Not before: they import JAX and more, which --help and a mistyped flag need not wait for.
    from training import loop, run_directory
    from training.system import jax_platform

    jax_platform.set_up(config.platform, config.precision)
    path = Path(_RUN_DIR.value) if _RUN_DIR.value else run_directory.default_path(config)
    logging.info("run directory: %s", path)
    is_finished = loop.train(config, path)
    logging.info("finished" if is_finished else "stopped; the same command continues")
    return 0 if is_finished else exit_codes.STOPPED


if __name__ == "__main__":
    command_line.run(main)

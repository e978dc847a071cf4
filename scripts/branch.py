"""Continues a run from one of its snapshots under another configuration, in another directory.

python -m scripts.branch --run_dir=RUN --at=50000 --to=BRANCH -- \
    --config.optimizer.learning_rate=1e-4

Up to that frame a branch is its run bit for bit, so that a comparison of branches is free of the
variance between seeds. Keys are changed as for scripts.train. Another optimizer needs its own
arguments as well: --config.optimizer.name=sgd --config.optimizer.kwargs="{}". Snapshots to branch
off from are kept by snapshot.keep_at. The same command continues a branch that was stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags, logging
from ml_collections import config_flags

from core import flag_errors
from scripts import command_line
from training import branching, loop, run_directory
from training.system import exit_codes, jax_platform

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run to branch off from.", required=True)
_AT = flags.DEFINE_integer("at", None, "Which snapshot, in frames.", required=True)
_TO = flags.DEFINE_string("to", None, "The branch's directory.", required=True)


def main(argv: Sequence[str]) -> int:
    """Branches and trains; returns 0 when all frames are played and 3 when stopped early."""
    run_dir, to = Path(_RUN_DIR.value), Path(_TO.value)
    run_directory.read_config(run_dir)
    config = change(run_directory.read_given(run_dir), argv[1:])
    jax_platform.set_up(config.platform, config.precision)
    if (to / branching.RECORD).exists():
        branching.check_record(to, run_dir, _AT.value)
    else:
        branching.make(run_dir, _AT.value, config, to)
    logging.info("branch of %s at frame %d: %s", run_dir, _AT.value, to)
    is_finished = loop.train(config, to)
    logging.info("finished" if is_finished else "stopped; the same command continues")
    return 0 if is_finished else exit_codes.STOPPED


def change(config: Any, arguments: Sequence[str]) -> Any:
    """The configuration with the changes of flags --config.KEY=VALUE; ends in one line if bad."""
    values, given = flags.FlagValues(), [sys.argv[0], *arguments]
    try:
        holder = config_flags.DEFINE_config_dict(
            "config", _with_tuples(config), flag_values=values, sys_argv=given
        )
        left = values(given)
    except (flags.Error, LookupError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        command_line.fail(flag_errors.describe(error, given))
    if len(left) > 1:
        command_line.fail(f"unexpected argument {left[1]!r}: flags start with --config.")
    return holder.value


def _with_tuples(config: Any) -> Any:
    """JSON's lists as the tuples that they were, which flags can change."""
    plain = config.to_dict()

    def convert(value):
        if isinstance(value, dict):
            return {key: convert(item) for key, item in value.items()}
        return tuple(map(convert, value)) if isinstance(value, (list, tuple)) else value

    return ml_collections.ConfigDict(convert(plain)).lock()


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)

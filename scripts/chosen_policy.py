"""Which policy a script plays: flags for a run's directory or a file, and how it is loaded."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from absl import flags

from core import checks
from training import run_directory, run_settings
from training.acting import policy, policy_file
from training.system import jax_platform

_RUN_DIR = flags.DEFINE_string("run_dir", None, "The run's directory; or say --policy.")
_SNAPSHOT = flags.DEFINE_integer("snapshot", None, "Which snapshot, in frames; default: newest.")
_SEED_INDEX = flags.DEFINE_integer("seed_index", None, "Which of the run's seeds, from 0.")
_POLICY = flags.DEFINE_string("policy", None, "A file of scripts.export_policy, not a run.")
_PLATFORM = flags.DEFINE_string("platform", "auto", "auto, cpu or gpu.")


class Source(NamedTuple):
    """Where the policy is.

    Attributes:
      run_dir: the run's directory; None if it is a file.
      load: loads it; raises as `policy.load` and `policy_file.load`.
    """

    run_dir: Path | None
    load: Callable[[], policy.Policy]


def choose() -> Source:
    """Reads the configuration of what the flags name, and sets JAX up for it.

    Raises:
      ConfigError: if the flags don't name one policy, or its configuration can't be read.
    """
    run_dir, file = (Path(flag.value) if flag.value else None for flag in (_RUN_DIR, _POLICY))
    if run_dir and not file:
        config = run_directory.read_config(run_dir)
        load = functools.partial(policy.load, run_dir, _SNAPSHOT.value, _SEED_INDEX.value or 0)
    elif file and not run_dir:
        for flag in (_SNAPSHOT, _SEED_INDEX):
            if flag.value is not None:
                raise checks.ConfigError(f"{flag.name} = {flag.value}: expected none with --policy")
        config = policy_file.read_config(file)
        load = functools.partial(policy_file.load, file)
    else:
        given = "both are" if file else "neither is"
        raise checks.ConfigError(f"run_dir, policy: expected one of the two, {given} given")
    jax_platform.set_up(_PLATFORM.value, run_settings.parse(config).precision)
    return Source(run_dir, load)

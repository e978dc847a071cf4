"""Trains with several processes; the same command continues a run that was stopped or killed.

python -m scripts.launch --config=configs/rainbow_nap.py:breakout --actors=4

starts a replay server (after `make replay-env`), a learner, an evaluator and four actors, each of
which has config.num_envs environments, and keeps them alive. Their logs are RUN_DIR/logs/*.log; the
other files are those of scripts.train.

On several machines, which must see the run directory, the checkout and its environments at the same
paths: --cluster=ray, or --start_with, as scripts/slurm/actor_nodes.sbatch does. A single role:

python -m scripts.launch --config=configs/rainbow_nap.py:breakout --actors=4 --role=actor --index=3
"""

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from cluster import context, distributed_settings
from cluster.roles import address, replay
from cluster.supervision import processes, supervisor
from cluster.sweeps import sweep_jobs
from core import checks, locks
from replay.reverb.writing import actor_journal
from scripts import command_line
from training import derived, run_directory
from training.system import exit_codes, jax_platform

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/; file.py:GAME chooses the game, --config.KEY=VALUE a key."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir",
    None,
    "Where the run's files go; default: runs/<config>/<game>/seed_<seed>_distributed.",
)
_ACTORS = flags.DEFINE_integer("actors", 2, "How many actors the run has.", lower_bound=1)
_ROLE = flags.DEFINE_enum("role", None, context.ROLES, "Run this role alone; default: all of them.")
_INDEX = flags.DEFINE_integer("index", 0, "Which of the actors, from 0.", lower_bound=0)
_HOST = flags.DEFINE_string(
    "host",
    None,
    "Host name or IP address at which other machines reach the replay server, which has no "
    "password: whoever reaches it can read and change the replay. Default: localhost, which other "
    "machines can't reach; with --cluster=ray, this machine's address.",
)
_PORT = flags.DEFINE_integer(
    "port", 0, "Of the replay server; 0: any that is free.", lower_bound=0, upper_bound=65535
)
_REPLAY_PYTHON = flags.DEFINE_string(
    "replay_python",
    str(context.REPLAY_PYTHON),
    "The interpreter of the replay server's environment, which `make replay-env` makes.",
)
_REPORT_SECONDS = flags.DEFINE_float(
    "report_seconds", 60.0, "Between two lines about the whole run.", lower_bound=0.1
)
_CLUSTER = flags.DEFINE_enum(
    "cluster", "local", ["local", "ray"], "Where the roles run: here, or on a Ray cluster."
)
_START_WITH = flags.DEFINE_string(
    "start_with",
    None,
    "An executable that starts a role, perhaps elsewhere: it is given the role's label, such as "
    "actor_3, and the command; it ends when that does, with its exit code, and passes SIGTERM on.",
)

_RUN_SECONDS = 600.0
"""How long a role waits for the learner to begin the run."""

_PREDECESSOR_SECONDS = 30.0


def main(argv: Sequence[str]) -> int:
    """Trains; returns 0 when all frames are played, 3 when stopped early, 1 after a failure."""
    del argv
    given: Any = command_line.load_config(_CONFIG)
    config: Any = derived.resolve(given)
    distributed_settings.parse(config, _ACTORS.value)
    command_line.check_given(_INDEX, _ROLE.value is not None, "with --role")
    run_dir = Path(_RUN_DIR.value) if _RUN_DIR.value else _default_path(config)
    host = _host()
    if _ROLE.value:
        try:
            return _run_role(_role(_ROLE.value, config, run_dir, host), given)
        except (locks.HeldError, actor_journal.JournalInUseError) as error:
            command_line.fail(str(error), exit_codes.HELD)
    return _supervise(config, given, run_dir)


def _default_path(config: Any) -> Path:
    path = run_directory.default_path(config)
    return path.with_name(f"{path.name}_distributed")


def _host() -> str:
    """The replay server's host; raises ConfigError if it can't be used."""
    host = "localhost" if _HOST.value is None else _HOST.value
    is_here = _ROLE.value == "replay" or (_ROLE.value is None and _is_local())
    return address.check_host(host, is_here)


def _is_local() -> bool:
    """Whether the roles run on this machine."""
    return _CLUSTER.value == "local" and not _START_WITH.value


def _role(name: str, config: Any, run_dir: Path, host: str) -> context.Role:
    limit = _ACTORS.value if name == "actor" else 1
    if _INDEX.value >= limit:
        raise checks.ConfigError(
            f"index = {_INDEX.value}: expected 0 to {limit - 1} with role = {name!r} and "
            f"actors = {_ACTORS.value}"
        )
    return context.Role(
        name=name,
        config=config,
        run_dir=run_dir,
        num_actors=_ACTORS.value,
        index=_INDEX.value,
        host=host,
        port=_PORT.value,
        replay_python=Path(_REPLAY_PYTHON.value),
    )


def _run_role(role: context.Role, given: Any) -> int:
    """Runs a role in this process; returns its exit code. `given`: the config, not resolved."""
    config: Any = role.config
    # The replay role computes nothing: its JAX, which configs import, must not take a device.
    if role.name == "learner":
        run_directory.check(role.run_dir, given)
        jax_platform.set_up(config.platform, config.precision)
        sweep_jobs.parse(config)
        claim = run_directory.claimed(role.run_dir, given, run_directory.Worker.LEARNER)
    else:
        _wait_for_run(role.run_dir, given)
        claim = _hold(role)
    with claim:
        if role.name in ("actor", "evaluator"):
            jax_platform.set_up(config.distributed.actor_platform, config.precision)
        return importlib.import_module(f"cluster.roles.{role.name}").run(role)


def _hold(role: context.Role) -> contextlib.AbstractContextManager[None]:
    """Keeps other processes of the same role away; one on a node that was lost may linger."""
    path = role.run_dir / "status" / f"{role.label}.lock"
    path.parent.mkdir(exist_ok=True)
    refusal = f"run_dir = {str(role.run_dir)!r}: another {role.label} is at work there"
    return locks.hold(path, refusal, _PREDECESSOR_SECONDS)


def _wait_for_run(run_dir: Path, given: Any) -> None:
    """Waits until the learner has claimed the directory, which other files would prevent."""
    deadline = time.monotonic() + _RUN_SECONDS
    while not (run_dir / "config.json").exists():
        run_directory.check(run_dir, given)
        if time.monotonic() > deadline:
            raise checks.ConfigError(
                f"run_dir = {str(run_dir)!r}: no learner has begun a run there in "
                f"{_RUN_SECONDS:.0f} s"
            )
        time.sleep(0.5)
    run_directory.check(run_dir, given)


def _supervise(config: Any, given: Any, run_dir: Path) -> int:
    """Checks everything, then starts all roles and keeps them alive; returns the exit code."""
    run_directory.check(run_dir, given)
    # The checks need no device, and the learner needs the GPU's memory.
    jax_platform.set_up("cpu")
    sweep_jobs.parse(config)
    replay.check_python(Path(_REPLAY_PYTHON.value))
    if _is_local() and not locks.is_held(run_dir / "replay" / "checkpoints"):
        address.check_port(_PORT.value)
    start = _starter(config)
    roles = [("replay", 0), ("learner", 0), *(("actor", i) for i in range(_ACTORS.value))]
    if config.evaluation.period_frames > 0:
        roles.append(("evaluator", 0))
    with run_directory.claimed(run_dir, given, run_directory.Worker.SUPERVISOR):
        logging.info("run directory: %s", run_dir)
        exit_code = supervisor.Supervisor(
            roles,
            lambda name, index: _command(name, index, run_dir),
            run_dir,
            _REPORT_SECONDS.value,
            start,
        ).run()
    if exit_code != exit_codes.FAILED:
        logging.info("finished" if exit_code == 0 else "stopped; the same command continues")
    return exit_code


def _command(name: str, index: int, run_dir: Path) -> list[str]:
    """A role's command: this one's flags as given, then its own, which override them."""
    given = [argument for argument in sys.argv[1:] if argument != "--"]
    own = {"role": name, "index": index, "run_dir": run_dir.absolute(), "cluster": "local"}
    if _CLUSTER.value == "ray":
        from cluster.supervision import ray_processes

        own["host"] = ray_processes.NODE_ADDRESS
    program = [sys.executable, "-m", "scripts.launch"]
    return [*program, *given, *(f"--{key}={value}" for key, value in own.items())]


def _starter(config: Any) -> supervisor.Start:
    """What starts a role where the flags say."""
    program = _START_WITH.value
    if _CLUSTER.value == "ray":
        if program:
            raise checks.ConfigError(
                f"start_with = {program!r}: expected none with cluster = 'ray'"
            )
        from cluster.supervision import ray_roles

        return ray_roles.starter(config, _ACTORS.value, _HOST.value)
    if not program:
        return supervisor.start_here
    if not os.access(program, os.X_OK) or os.path.isdir(program):
        raise checks.ConfigError(f"start_with = {program!r}: expected an executable file")
    return lambda name, index, command, log: processes.Process(
        [program, context.label(name, index), *command], log
    )


if __name__ == "__main__":
    command_line.run(main)

"""Trains configs x arguments x seeds, several at once; the same command continues a sweep.

python -m scripts.sweep --configs=configs/rainbow.py,configs/rainbow_nap.py --games=pong,seaquest \
    --seeds=1,2,3 --root=runs/comparison --workers=2 -- --config.num_frames=1_000_000

What follows `--` is given to every run. The runs and their logs are ROOT/CONFIG/ARGUMENT/seed_S and
seed_S.log, the state of all is in ROOT/sweep.json. Each worker has its own share of the cores;
if there are more workers than cores they share them all, which is slower than fewer workers.
Workers on one GPU share its memory: set XLA_PYTHON_CLIENT_MEM_FRACTION to what each may have.

With --cluster=ray the runs are spread over a Ray cluster, whose nodes must see the checkout, its
environment and ROOT at the same paths; --workers is how many run at once on all nodes together.
"""

import collections
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from cluster.supervision import processes
from cluster.sweeps import sweep, sweep_jobs
from cluster.sweeps.sweep_record import RunState
from scripts import command_line
from training.system import exit_codes, jax_platform

_CONFIGS = flags.DEFINE_list("configs", [], "Files of configs/, with commas between.")
_ARGUMENTS = flags.DEFINE_list(
    "arguments", [], "What goes after a config's colon; a config given as file.py:ARG keeps ARG."
)
flags.DEFINE_alias("games", "arguments")
_SEEDS = flags.DEFINE_list("seeds", ["1"], "The seeds, with commas between.")
_ROOT = flags.DEFINE_string("root", None, "Where the sweep's files go.", required=True)
_WORKERS = flags.DEFINE_integer(
    "workers", 1, "Runs at once; each has its share of the cores.", lower_bound=1
)
_REPORT_SECONDS = flags.DEFINE_float(
    "report_seconds", 60.0, "Between reports of progress.", lower_bound=0.1
)
_CLUSTER = flags.DEFINE_enum(
    "cluster", "local", ["local", "ray"], "Where the runs are: here, or on a Ray cluster."
)
_CPUS = flags.DEFINE_float(
    "cpus_per_run",
    1.0,
    "With --cluster=ray: CPUs that each run reserves on a node.",
    lower_bound=0.0,
)
_GPUS = flags.DEFINE_float(
    "gpus_per_run",
    0.0,
    "With --cluster=ray: GPUs that each run reserves; 0.5 if two share one.",
    lower_bound=0.0,
)


def main(argv: Sequence[str]) -> int:
    """Trains; returns 0 when all runs are finished, 3 when stopped early, 5 if some failed."""
    # The checks need no device, and the runs need the GPU's memory.
    jax_platform.set_up("cpu")
    seeds = sweep_jobs.parse_seeds(_SEEDS.value)
    grid = sweep_jobs.Grid(_CONFIGS.value, _ARGUMENTS.value, seeds, argv[1:])
    states = sweep.run(
        grid,
        Path(_ROOT.value),
        _WORKERS.value,
        _REPORT_SECONDS.value,
        exit_codes.STOPPED,
        _starter(),
    )
    counts = collections.Counter(states)
    logging.info("%s", ", ".join(f"{count} {state}" for state, count in counts.items()))
    if counts[RunState.FINISHED] + counts[RunState.FAILED] < len(states):
        logging.info("stopped; the same command continues")
        return exit_codes.STOPPED
    return exit_codes.RUNS_FAILED if counts[RunState.FAILED] else exit_codes.FINISHED


def _starter() -> sweep.Start:
    """What starts a run where the flags say."""
    for flag in (_CPUS, _GPUS):
        command_line.check_given(flag, _CLUSTER.value == "ray", "with --cluster=ray")
    if _CLUSTER.value == "local":
        return processes.Process
    from cluster.supervision import ray_processes

    ray_processes.connect()
    return lambda command, log, cores: ray_processes.RayProcess(
        command, log, _CPUS.value, _GPUS.value
    )


if __name__ == "__main__":
    command_line.run(main, allow_arguments=True)

"""Checks of memory, cores and disk against what a configuration needs."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from cluster.doctor.finding import Finding, Level, size
from core import checks
from training.system import memory

_WRITTEN_BYTES = 64 * 1024**2


def check_memory(
    needed: int, capacity: int, num_seeds: int, available: int | None = None
) -> Finding:
    """Whether the replay fits.

    Args:
      needed: bytes of the replays of all seeds.
      capacity: replay.capacity.
      num_seeds: of the configuration.
      available: bytes; None: what the compute device has free now.
    """
    available = memory.device_bytes() if available is None else available
    if available is None:
        found = f"the replay takes {size(needed)}; what the device has is not known"
        return Finding("memory", Level.WARNING, found, "watch the first minutes of the run")
    try:
        memory.check_replay(needed, capacity, f"num_seeds = {num_seeds}", available)
    except checks.ConfigError as error:
        return Finding("memory", Level.FAILURE, str(error), "set --config.replay.capacity to that")
    found = f"the replay takes {size(needed)} of {size(available)} free"
    return Finding("memory", Level.OK, found)


def check_cores(num_envs: int, num_threads: int, cores: int | None = None) -> Finding:
    """Cores against environments.

    Args:
      num_envs: environments of all seeds.
      num_threads: of their emulators; 0 where the configuration leaves the number open.
      cores: that this process may use; None: asks.
    """
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    found = f"{cores} for {num_envs} environments"
    if num_threads > cores:
        remedy = f"--config.environment.num_threads={cores}"
        found += f" in {num_threads} threads"
        return Finding("cores", Level.WARNING, found, remedy)
    if cores == 1:
        remedy = "give the process two cores or more: emulators and learner work at once"
        return Finding("cores", Level.WARNING, found, remedy)
    return Finding("cores", Level.OK, found)


def check_disk(directory: Path, snapshot_bytes: int, free: int | None = None) -> Finding:
    """Room and speed for snapshots where the run's directory will be.

    Args:
      directory: the run's, or where it is to be made.
      snapshot_bytes: of a snapshot before compression, an upper bound.
      free: bytes; None: asks.

    Raises:
      OSError: if nothing can be written there.
    """
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free if free is None else free
    rate = _write(directory)
    found = (
        f"{directory}: {size(free)} free, writes {size(rate)} a second; a snapshot takes up to "
        f"{size(snapshot_bytes)} and {snapshot_bytes / rate:.1f} s"
    )
    if free < snapshot_bytes:
        remedy = "another --run_dir, or a smaller --config.replay.capacity"
        return Finding("disk", Level.WARNING, found, remedy)
    return Finding("disk", Level.OK, found)


def _write(directory: Path) -> float:
    """Bytes a second, of a file that reaches the disk."""
    block = os.urandom(1024**2)
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as stream:
        begin = time.perf_counter()
        for _ in range(_WRITTEN_BYTES // len(block)):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
        return _WRITTEN_BYTES / (time.perf_counter() - begin)

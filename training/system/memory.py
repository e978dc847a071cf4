"""Whether a replay fits into the available memory, checked before it is allocated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from core import checks

_GB = 1e9
# Share of free memory that a proposed capacity may fill: a network and its updates need some.
_SHARE = 0.9


def replay_bytes(replay: Any, num_seeds: int) -> int:
    """Bytes of a replay's arrays, for all seeds."""
    arrays = jax.tree.leaves(jax.eval_shape(replay.init))
    return num_seeds * sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in arrays)


def check_replay(needed: int, capacity: int, what: str, available: int | None = None) -> None:
    """Checks that replays fit.

    Args:
      needed: their bytes.
      capacity: replay.capacity of each.
      what: their number, for the message, e.g. "num_seeds = 4".
      available: bytes; None: those of the compute device, if known.

    Raises:
      ConfigError: if they don't fit.
    """
    if available is None:
        available = device_bytes()
    if available is None or needed <= available:
        return
    most = int(capacity * _SHARE * available / needed)
    digits = max(0, len(str(most)) - 2)
    raise checks.ConfigError(
        f"replay.capacity = {capacity}: the replay takes {needed / _GB:.1f} GB with {what}, and "
        f"there are {available / _GB:.1f} GB: expected at most {most // 10**digits * 10**digits}"
    )


def device_bytes() -> int | None:
    """The unused memory of the first device; None if unknown."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return host_bytes()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def host_bytes() -> int | None:
    """The machine's free memory, or what the process's control group leaves of it."""
    found = [*_free_of_machine(Path("/proc/meminfo")), *_free_of_groups(Path("/sys/fs/cgroup"))]
    return min(found, default=None)


def _free_of_machine(meminfo: Path) -> Iterator[int]:
    for key, value in _read_pairs(meminfo):
        if key == "MemAvailable:":
            yield value * 1024


def _free_of_groups(root: Path, own: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """What the limits of the process's group, and of the groups it is part of, leave free."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            yield from _free_of_group(root, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _free_of_group(root / "memory", path, *names)


def _free_of_group(
    root: Path, path: str, limit_name: str, used_name: str, reclaimable: str
) -> Iterator[int]:
    group = root / path.lstrip("/")
    # In a container the path may be the host's, and only the root is visible.
    for directory in (group, *group.parents):
        if not directory.is_relative_to(root):
            return
        try:
            limit = int((directory / limit_name).read_text())
            used = int((directory / used_name).read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
        cached = dict(_read_pairs(directory / "memory.stat")).get(reclaimable, 0)
        yield max(0, limit - used + cached)


def _read_pairs(path: Path) -> Iterator[tuple[str, int]]:
    """The lines "NAME NUMBER ..." of a file; none if it can't be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[1].isdecimal():
            yield words[0], int(words[1])

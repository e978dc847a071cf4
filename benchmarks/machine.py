"""What a benchmark reports about its machine, and about other load on it."""

import contextlib
import datetime
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from core import checks

ROOT = Path(__file__).resolve().parents[1]
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
"""The allocator settings that training/system/jax_platform.py makes, as environment variables."""


def describe() -> dict[str, Any]:
    """The processor, its cores, the date and the project's commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
    }


def busy_seconds() -> float:
    """Seconds that the cores were busy, or taken by another virtual machine; nan if unknown."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return float("nan")
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def used_seconds(processes: Iterable[int]) -> float:
    """Core seconds that living processes, given by their IDs, have used so far."""
    ticks = 0
    for number in processes:
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
            stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
            fields = stat.rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, the quartiles (of two values or more), the least and the greatest."""
    first, median, third = (
        statistics.quantiles(values, n=4, method="inclusive")
        if len(values) > 1
        else list(values) * 3
    )
    quartiles = {"first_quartile": first, "third_quartile": third}
    return {"median": median, **quartiles, "least": min(values), "greatest": max(values)}


def choose(flag: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """What a list of names asks for, in the order known; all if it is empty.

    Raises:
      ConfigError: for a name that is not known.
    """
    for name in asked:
        if name not in known:
            raise checks.ConfigError(f"{flag} = {name!r}: expected some of {', '.join(known)}")
    return [name for name in known if not asked or name in asked]


def output_paths(output: str | None) -> list[Path]:
    """The files for a report and its table, before anything is measured; none without a name.

    Raises:
      ConfigError: if they can't be written, or exist already.
    """
    if output is None:
        return []
    path = Path(output)
    paths = [path, path.with_suffix(".md")]
    if path.suffix != ".json" or not path.parent.is_dir():
        raise checks.ConfigError(
            f"output = {output!r}: expected a name ending in .json, in a directory that exists"
        )
    for existing in filter(Path.exists, paths):
        raise checks.ConfigError(f"output = {str(existing)!r}: exists already, not overwritten")
    return paths


def write(paths: Sequence[Path], report: Any, table: str) -> None:
    """Writes a report as JSON and its table to the files of `output_paths`."""
    for path, text in zip(paths, (json.dumps(report, indent=1) + "\n", table)):
        path.write_text(text, encoding="utf-8")


def _processor() -> str:
    """The CPU's model as the kernel names it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The project's commit, marked if files differ from it; "unknown" outside a repository."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()

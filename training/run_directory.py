"""The directory of a run: which configuration it belongs to, and what else is in it."""

import contextlib
import enum
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import logging

from core import checks, durable_files, locks, settings
from envs import base as envs_base
from training import derived, run_settings
from training.system import jax_platform

# What may change between a run and its continuation.
_FREE = (
    "num_frames",
    "num_passes",
    "distributed.",
    "evaluation.",
    "log.",
    "snapshot.",
    "platform",
    "formulation",
    "environment.num_threads",
)

# Of the rooms.
_ROOT = Path(__file__).resolve().parents[1]

_RUN_LOCK, _SUPERVISOR_LOCK = "run.lock", "supervisor.lock"
OF_A_BEGINNING = {_RUN_LOCK, _SUPERVISOR_LOCK, "config.json.tmp"}
"""What a run killed while claiming its directory leaves behind."""


class Worker(enum.Enum):
    """A writer to a run's directory: the locks that it holds, and those that must be free.

    A supervisor's learner holds a lock of its own, so that it may outlive its supervisor.
    """

    ALONE = ((_SUPERVISOR_LOCK, _RUN_LOCK), (_SUPERVISOR_LOCK, _RUN_LOCK))
    SUPERVISOR = ((_SUPERVISOR_LOCK,), (_SUPERVISOR_LOCK, _RUN_LOCK))
    LEARNER = ((_RUN_LOCK,), (_RUN_LOCK,))


def default_path(config: Any) -> Path:
    """runs/<config>/<game, id, probe or sequence>/seed_<seed>."""
    label = envs_base.task_name(envs_base.parse(config.environment))
    return Path("runs") / config.name / label / f"seed_{config.seed}"


@contextlib.contextmanager
def claimed(
    path: Path, config: ml_collections.ConfigDict, worker: Worker = Worker.ALONE
) -> Iterator[None]:
    """Claims the directory, and keeps other processes from working there while in use.

    Raises:
      ConfigError: as `check`, or if another process is at work there; nothing is changed.
    """
    check(path, config)
    with locked(path, worker):
        claim(path, config)
        yield


@contextlib.contextmanager
def locked(path: Path, worker: Worker = Worker.ALONE) -> Iterator[None]:
    """Keeps other processes from working in the directory, which is created if missing.

    Raises:
      ConfigError: if another process is at work there; nothing is changed.
    """
    check_idle(path, worker)
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in worker.value[0]:
                stack.enter_context(locks.hold(path / name, _refusal(path)))
        except OSError as error:
            raise checks.ConfigError(f"run_dir = {str(path)!r}: not usable: {error}") from error
        yield


def check_idle(path: Path, worker: Worker = Worker.ALONE) -> None:
    """Checks that no other process works in the directory; changes nothing.

    Raises:
      ConfigError: if one still does after some seconds.
    """
    for name in worker.value[1]:
        locks.await_free(path / name, _refusal(path))


def _refusal(path: Path) -> str:
    return f"run_dir = {str(path)!r}: another process is at work there"


def claim(path: Path, config: ml_collections.ConfigDict) -> None:
    """Makes the directory, or checks that it belongs to this configuration.

    Args:
      path: the directory.
      config: as given, not resolved: keys that follow others must keep following them.

    Raises:
      ConfigError: as `check`.
    """
    check(path, config)
    if (path / "config.json").exists():
        for line in derived.describe_changes(read_given(path), config):
            logging.info("%s", line)
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.to_dict(), indent=1, sort_keys=True) + "\n"
    durable_files.replace_text(path / "config.json", text)


def check(path: Path, config: ml_collections.ConfigDict) -> None:
    """Checks that the directory belongs to this configuration or is free; writes nothing.

    Raises:
      ConfigError: if the directory holds a run of another configuration, or other files.
    """
    if path.exists() and not path.is_dir():
        raise checks.ConfigError(f"run_dir = {str(path)!r}: not a directory")
    if (path / "config.json").exists():
        _check_same(path, read_given(path), config)
    elif path.exists() and {entry.name for entry in path.iterdir()} - OF_A_BEGINNING:
        raise checks.ConfigError(f"run_dir = {str(path)!r}: not empty, and holds no run")


def read_config(path: Path) -> ml_collections.ConfigDict:
    """The configuration of the run in a directory, resolved.

    Raises:
      ConfigError: if there is no run, or its configuration can't be read.
    """
    if not (path / "config.json").exists():
        raise checks.ConfigError(f"run_dir = {str(path)!r}: expected a directory with a run")
    return derived.resolve(read_given(path))


def append_provenance(path: Path, config: ml_collections.ConfigDict) -> None:
    """Adds a line about this start of the run to provenance.jsonl.

    It has the commit, hardware, versions, the values of keys that follow others and of those that
    may change between starts, and which of these did.

    Args:
      path: the directory.
      config: resolved.
    """
    values = settings.flatten(json.loads(json.dumps(config.to_dict())))
    free = {key: value for key, value in values.items() if key.startswith(_FREE)}
    record = {
        **code_and_machine(),
        "precision": config.precision,
        "resolved": derived.values(config),
        "free": free,
        "changed": _changed(path / "provenance.jsonl", free),
    }
    file = path / "provenance.jsonl"
    durable_files.drop_torn_line(file)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")


def code_and_machine() -> dict[str, Any]:
    """Commit, hardware and versions."""
    return {
        "commit": commit(),
        "uncommitted_changes": _has_changes(),
        "device": jax_platform.describe_device(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def _has_changes() -> bool:
    """Whether tracked files differ from the commit, or there is code that git does not know."""
    lines = _git("status", "--porcelain", "--untracked-files=all").splitlines()
    if lines == ["unknown"]:
        return False
    return any(not line.startswith("??") or line.endswith(".py") for line in lines)


def _changed(provenance: Path, free: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What each key was at the start before and is now, of those that differ."""
    lines = provenance.read_text(encoding="utf-8").splitlines() if provenance.exists() else []
    try:
        before = json.loads(lines[-1])["free"] if lines else {}
    except (ValueError, KeyError, TypeError):  # cut by a crash, or of an earlier version
        before = {}
    return {
        key: [before[key], value]
        for key, value in free.items()
        if key in before and before[key] != value
    }


def commit() -> str:
    """That the code is of; "unknown" where git can't tell."""
    return _git("rev-parse", "HEAD")


def read_given(path: Path) -> ml_collections.ConfigDict:
    """The configuration of the run in a directory, as given: keys that follow others are None.

    Keys that there were not yet have their defaults.

    Raises:
      ConfigError: if it can't be read.
    """
    config_path = path / "config.json"
    try:
        found = json.loads(config_path.read_text())
    except (OSError, ValueError) as error:
        raise checks.ConfigError(f"{config_path}: damaged, not JSON ({error})") from error
    if not isinstance(found, dict):
        raise checks.ConfigError(f"{config_path}: damaged, no configuration of a run")
    return ml_collections.ConfigDict(settings.complete(run_settings.RunSettings, found)).lock()


def _check_same(
    path: Path, found: ml_collections.ConfigDict, asked: ml_collections.ConfigDict
) -> None:
    """Raises ConfigError for a key that differs but may not.

    A key given in only one of the two must equal what it follows in the other.
    """
    given = [settings.flatten(x.to_dict()) for x in (found, asked)]
    resolved = [settings.flatten(derived.resolve(x).to_dict()) for x in (found, asked)]
    for key in sorted(set(given[0]) | set(given[1])):
        if key.startswith(_FREE):
            continue
        is_unset = [x.get(key, "") is None for x in given]
        compared = resolved if any(is_unset) and not all(is_unset) else given
        # Sorted, as the saved ones are: an intervention is a mapping, whose order says nothing.
        saved, wanted = (
            json.dumps(x[key], sort_keys=True) if key in x else "nothing" for x in compared
        )
        if saved != wanted:
            saved, wanted = (
                f"{text} (not given)" if unset else text
                for text, unset in zip((saved, wanted), is_unset)
            )
            raise checks.ConfigError(
                f"run_dir = {str(path)!r}: belongs to another configuration: "
                f"{key} is {saved} there, asked for {wanted}"
            )


def _git(*arguments: str) -> str:
    """What git says of this code; "unknown" if it knows none, or a repository around it."""
    executable = shutil.which("git")
    if executable is None:
        return "unknown"
    # An absolute path and close_fds=False make it posix_spawn, which is safe beside JAX's threads.
    found = subprocess.run(
        [executable, "-C", str(_ROOT), *arguments],
        # Where a repository around an installation would be.
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(_ROOT.parent)},
        capture_output=True,
        text=True,
        check=False,
        close_fds=False,
    )
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

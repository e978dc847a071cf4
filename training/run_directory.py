"""The directory of a run: which configuration it belongs to, and what else lies in it."""

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

from configs import checks
from envs import base as envs_base
from training import files
from training import platform as platform_lib

# What may change between a run and its continuation.
_FREE = (
    "num_frames",
    "distributed.",
    "evaluation.",
    "log.",
    "snapshot.",
    "platform",
    "environment.num_threads",
)


def default_path(config: ml_collections.ConfigDict) -> Path:
    """runs/<config>/<game, id, probe, or what sequence>/seed_<seed>."""
    environment = config.environment
    label = envs_base.task_name(environment)
    if "games" in environment:
        label = f"{len(environment.games)}_games_of_{environment.frames_per_game}_frames"
    return Path("runs") / config.name / label / f"seed_{config.seed}"


def claim(path: Path, config: ml_collections.ConfigDict) -> None:
    """Makes the directory, or checks that it belongs to this configuration.

    Raises:
      ConfigError: as `check` does.
    """
    check(path, config)
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.to_dict(), indent=1, sort_keys=True) + "\n"
    files.replace_text(path / "config.json", text)


def check(path: Path, config: ml_collections.ConfigDict) -> None:
    """Makes sure that the directory is this configuration's, or free for it; writes nothing.

    Raises:
      ConfigError: if the directory holds a run of another configuration, or other files.
    """
    config_path = path / "config.json"
    if config_path.exists():
        _check_same(path, _read_config(config_path), _flatten(config.to_dict()))
    elif path.exists() and any(path.iterdir()):
        raise checks.ConfigError(f"run_dir = {str(path)!r}: not empty, and holds no run")


def read_config(path: Path) -> ml_collections.ConfigDict:
    """The configuration of the run in a directory.

    Raises:
      ConfigError: if there is no run.
    """
    config_path = path / "config.json"
    if not config_path.exists():
        raise checks.ConfigError(f"run_dir = {str(path)!r}: expected a directory with a run")
    return ml_collections.ConfigDict(json.loads(config_path.read_text())).lock()


def append_provenance(path: Path) -> None:
    """Adds a line to provenance.jsonl: commit, hardware and versions of this start of the run."""
    record = {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": _git("status", "--porcelain", "--untracked-files=no") != "",
        "device": platform_lib.describe_device(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }
    with (path / "provenance.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return _flatten(json.loads(path.read_text()))
    except ValueError as error:
        raise checks.ConfigError(f"{path}: damaged, not JSON ({error})") from error


def _check_same(path: Path, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key in sorted(set(found) | set(asked)):
        if key.startswith(_FREE):
            continue
        saved, wanted = (json.dumps(x[key]) if key in x else "nothing" for x in (found, asked))
        if saved != wanted:
            raise checks.ConfigError(
                f"run_dir = {str(path)!r}: belongs to another configuration: "
                f"{key} is {saved} there, asked for {wanted}"
            )


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return dict(_items(config, prefix))


def _items(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _git(*arguments: str) -> str:
    executable = shutil.which("git")
    if executable is None:
        return "unknown"
    # An absolute path and close_fds=False make it posix_spawn, which is safe beside JAX's threads.
    found = subprocess.run(
        [executable, "-C", str(Path(__file__).parent), *arguments],
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

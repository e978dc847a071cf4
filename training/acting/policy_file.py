"""A policy as one small file: parameters, configuration, and where they come from."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from core import checks, durable_files, settings
from training import derived, run_settings
from training.acting import policy
from training.checkpoints import state_arrays

DTYPES = ("float32", "float16")
"""As which numbers are kept: as they are, or in half the room with three digits."""

_FORMAT = 1
_ABOUT = "about"
_KEYS = {"format", "config", "frames", "task", "seed", "starts"}


def write(
    output: Path,
    player: policy.Policy,
    config: ml_collections.ConfigDict,
    starts: Sequence[Mapping[str, Any]],
    dtype: str,
) -> None:
    """Writes the file, whole or not at all.

    Args:
      output: the new file, .npz; its directory must exist.
      player: whose parameters are kept.
      config: of its run, resolved.
      starts: the run's provenance, of each start.
      dtype: of DTYPES, for parameters in float32.

    Raises:
      ConfigError: if the file exists or can't be written, or a number is too great for the dtype.
    """
    if output.suffix != ".npz" or output.exists() or not output.parent.is_dir():
        raise checks.ConfigError(
            f"output = {str(output)!r}: expected a new file .npz in a directory that exists"
        )
    about = {
        "format": _FORMAT,
        "config": config.to_dict(),
        "frames": player.frames,
        "task": player.task,
        "seed": player.seed,
        "starts": list(starts),
    }
    arrays: dict[str, Any] = {
        name: _narrowed(name, array, dtype)
        for name, array in state_arrays.to_arrays(player.params).items()
    }
    arrays[_ABOUT] = np.array(json.dumps(about))
    try:
        with durable_files.replacing(output) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
    except OSError as error:
        raise checks.ConfigError(f"output = {str(output)!r}: not written: {error}") from error


def _narrowed(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    most = np.finfo(dtype).max
    if np.abs(array).max(initial=0) > most:
        raise checks.ConfigError(
            f"dtype = {dtype!r}: expected parameters of at most {most:g}, found "
            f"{np.abs(array).max():g} in {name}"
        )
    return array.astype(dtype)


def read_config(path: Path) -> ml_collections.ConfigDict:
    """The configuration of the run that the policy comes from, resolved.

    Raises:
      ConfigError: if it is no file of a policy.
    """
    return _config(_read(path)[0])


def load(path: Path) -> policy.Policy:
    """Reads the policy.

    Raises:
      ConfigError: if it is no file of a policy.
      SnapshotError: if its arrays are not those of its configuration.
      NotFiniteError: if a parameter is not finite.
    """
    about, arrays = _read(path)

    def params(shapes: Any) -> Any:
        dtypes = {name: leaf.dtype for name, leaf in state_arrays.by_path(shapes).items()}
        wide = {name: array.astype(dtypes.get(name)) for name, array in arrays.items()}
        return state_arrays.from_arrays(path, wide, shapes)

    settings = run_settings.parse(_config(about))
    return policy.make(settings, str(path), params, about["frames"], about["task"], about["seed"])


def _config(about: Mapping[str, Any]) -> ml_collections.ConfigDict:
    config = settings.complete(run_settings.RunSettings, about["config"])
    return derived.resolve(ml_collections.ConfigDict(config).lock())


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the file says of itself, and its other arrays."""
    wanted = f"policy = {str(path)!r}: expected a file that scripts.export_policy wrote"
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
            about = json.loads(str(arrays.pop(_ABOUT)))
        missing = sorted(_KEYS - about.keys())
    except KeyError as error:
        raise checks.ConfigError(f"{wanted}: {_ABOUT!r} is missing") from error
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise checks.ConfigError(f"{wanted}: {error}") from error
    if missing:
        raise checks.ConfigError(f"{wanted}: {missing[0]!r} is missing in {_ABOUT!r}")
    if about["format"] != _FORMAT:
        raise checks.ConfigError(
            f"{wanted}: it has format {about['format']!r}, this version reads {_FORMAT}"
        )
    return about, arrays

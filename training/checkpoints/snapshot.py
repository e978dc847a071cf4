"""Snapshots of a run: written atomically in the background, checked when read.

A snapshot is a directory named by its frame count. It holds arrays (`*.npz`), the replay's
observations in blocks of rows, and a manifest with every file's size and checksum. It is written
beside its final place, flushed to the disk and renamed, so that it is there whole or not at all.
Blocks of rows that are complete never change: successive snapshots share them as hard links.
"""

import dataclasses
import itertools
import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from core import durable_files
from training.checkpoints import row_blocks

_MANIFEST = "manifest.json"
_FORMAT = 2
_TYPE_MARK = "|"


class SnapshotError(RuntimeError):
    """A snapshot that can't be written or read; the message is one line."""


class UnreadableError(SnapshotError):
    """A snapshot that may be whole, but can't be read now."""


@dataclasses.dataclass
class Contents:
    """What a snapshot holds, on the host.

    Attributes:
      counters: numbers that describe the moment, such as frames and updates.
      arrays: groups of arrays by name; each group is a file.
      rows: the replay's observations, or None to leave the replay out.
    """

    counters: dict[str, int]
    arrays: dict[str, Mapping[str, np.ndarray]]
    rows: row_blocks.RowBlocks | None = None


class SnapshotStore:
    """The snapshots of one run, in `directory`."""

    def __init__(
        self,
        directory: Path,
        keep: int,
        stays: Callable[[int], bool] = lambda frames: False,
        record: Path | None = None,
    ):
        """Opens the store; leftovers of an interrupted write are removed.

        Args:
          directory: made at the first save.
          keep: how many of the newest snapshots stay.
          stays: of which frames a snapshot stays besides.
          record: a file outside that gets the newest's frames; where it is, there were snapshots.
        """
        self._directory = directory
        self._record = record
        self._keep = keep
        self._stays = stays
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        for leftover in directory.glob("*.tmp"):
            shutil.rmtree(leftover)
        for replaced in directory.glob("*.replaced"):
            if replaced.with_suffix("").exists():
                shutil.rmtree(replaced)
            else:
                replaced.rename(replaced.with_suffix(""))

    def saved(self) -> list[Path]:
        """The complete snapshots, newest first."""
        return list_saved(self._directory)

    def save(self, take: Callable[[Path | None], Contents]) -> None:
        """Starts writing a snapshot in the background, once the previous is done.

        Args:
          take: copies the state to the host; gets the newest snapshot, to share blocks with.

        Raises:
          SnapshotError: if the write before this one failed.
        """
        self.wait()
        earlier = next(iter(self.saved()), None)
        contents = take(earlier)
        self._thread = threading.Thread(target=self._run, args=(contents, earlier))
        self._thread.start()

    def wait(self) -> None:
        """Waits for the write under way.

        Raises:
          SnapshotError: if it failed; earlier snapshots are untouched.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raises SnapshotError if a write has failed; doesn't wait."""
        if self._error is not None:
            error, self._error = self._error, None
            raise SnapshotError(f"{self._directory}: snapshot not written: {error}") from error

    def _run(self, contents: Contents, earlier: Path | None) -> None:
        try:
            self._write(contents, earlier)
        except BaseException as error:  # handed to the training thread by check()
            self._error = error

    def _write(self, contents: Contents, earlier: Path | None) -> None:
        final = self._directory / f"{contents.counters['frames']:012d}"
        partial = final.with_suffix(".tmp")
        partial.mkdir(parents=True)
        try:
            files = _write_arrays(partial, contents.arrays)
            if contents.rows is not None:
                known = _read_manifest(earlier)["files"] if earlier else {}
                files |= contents.rows.write(partial, earlier, known)
            _write_manifest(partial, contents.counters, files)
            durable_files.flush(partial)
            replaced = final.with_suffix(".replaced")
            if final.exists():
                final.rename(replaced)
            partial.rename(final)
            durable_files.flush(self._directory)
            if self._record is not None:
                durable_files.replace_text(self._record, f"{contents.counters['frames']}\n")
            shutil.rmtree(replaced, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for old in self.saved()[self._keep :]:
            if not self._stays(int(old.name)):
                shutil.rmtree(old)

    def restore(self, use: Callable[[Path, dict[str, int]], Any]) -> Any:
        """Hands the newest whole snapshot to `use`; a damaged one is reported and skipped.

        Args:
          use: takes the snapshot's directory and its counters; may raise SnapshotError to refuse
            a snapshot that is whole but does not fit.

        Returns:
          What `use` returned, or None if there is no snapshot at all.

        Raises:
          SnapshotError: if every snapshot is damaged, one can't be read, there were some and are
            none, or `use` refused.
        """
        damaged: dict[Path, SnapshotError] = {}
        for path in self.saved():
            try:
                counters = verify(path)
            except UnreadableError:
                raise
            except SnapshotError as error:
                damaged[path] = error
                logging.warning("%s; trying the snapshot before it", error)
                continue
            restored = use(path, counters)
            for bad in damaged:
                # Moved away, not deleted, so that later snapshots don't share its files.
                bad.rename(_free_name(bad))
            return restored
        if damaged:
            reasons = "; ".join(str(error) for error in damaged.values())
            raise SnapshotError(f"no usable snapshot: {reasons}")
        if self._record is not None and self._record.exists():
            # A run would begin anew, and drop the rows that it has.
            raise SnapshotError(
                f"{self._directory}: expected a snapshot, as one was written at frame "
                f"{self._record.read_text().strip()}; without {self._record} the run begins anew"
            )
        return None


def _free_name(bad: Path) -> Path:
    """For a damaged snapshot; there may be one of the same frame already."""
    endings = (f".damaged_{number}" if number else ".damaged" for number in itertools.count())
    return next(path for path in map(bad.with_suffix, endings) if not path.exists())


def of_run(
    path: Path, keep: int, stays: Callable[[int], bool] = lambda frames: False
) -> SnapshotStore:
    """The snapshots in a run's directory that it continues from; see SnapshotStore."""
    return SnapshotStore(path / "snapshots", keep, stays, path / "snapshots.txt")


def list_saved(directory: Path) -> list[Path]:
    """The complete snapshots in a directory, newest first; none if there is no directory."""
    found = [path for path in directory.glob("*") if path.name.isdigit()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def verify(path: Path) -> dict[str, int]:
    """Checks every file of a snapshot and returns its counters.

    Raises:
      SnapshotError: naming the first file that is missing, damaged or not readable.
    """
    manifest = _read_manifest(path)
    for name, (size, checksum) in manifest["files"].items():
        try:
            data_size = (path / name).stat().st_size
            found = durable_files.checksum_of(path / name) if data_size == size else None
        except FileNotFoundError as error:
            raise SnapshotError(f"{path} is damaged: {name} is missing") from error
        except OSError as error:  # which may pass
            raise UnreadableError(f"{path}: {name} can't be read: {error}") from error
        if data_size != size:
            raise SnapshotError(f"{path} is damaged: {name} has {data_size} bytes, not {size}")
        if found != checksum:
            raise SnapshotError(f"{path} is damaged: {name} has another checksum")
    return manifest["counters"]


def read_arrays(path: Path, group: str) -> dict[str, np.ndarray]:
    """Reads one group of arrays of a verified snapshot."""
    with np.load(path / f"{group}.npz", allow_pickle=False) as data:
        return dict(_decoded(name, data[name]) for name in data.files)


def check_fits(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Checks that saved arrays have the names, shapes and types of those to be replaced.

    Raises:
      SnapshotError: naming the first array that differs.
    """
    for name in sorted(set(expected) | set(found)):
        saved, needed = (
            f"{x[name].dtype}{list(x[name].shape)}" if name in x else "nothing"
            for x in (found, expected)
        )
        if saved != needed:
            raise SnapshotError(f"{path}: {name} is {saved}, this configuration needs {needed}")


def _write_arrays(
    directory: Path, groups: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, list[int]]:
    files = {}
    for group, arrays in groups.items():
        path = directory / f"{group}.npz"
        with path.open("wb") as stream:
            # NumPy 1 would take `allow_pickle` for one more array.
            encoded: dict[str, Any] = dict(itertools.starmap(_encoded, arrays.items()))
            np.savez(stream, **encoded)
        files[path.name] = durable_files.describe(path)
    return files


def _encoded(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """An array as NumPy can write it: one of bfloat16 as integers, its type after its name."""
    if array.dtype.kind != "V":
        return name, array
    return f"{name}{_TYPE_MARK}{array.dtype}", array.view(f"u{array.dtype.itemsize}")


def _decoded(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    name, _, dtype = name.partition(_TYPE_MARK)
    if not dtype:
        return name, array
    # It knows bfloat16; every script imports this module, and JAX is slow to import.
    import jax.numpy as jnp

    return name, array.view(jnp.dtype(dtype))


def _write_manifest(
    directory: Path, counters: Mapping[str, int], files: Mapping[str, list[int]]
) -> None:
    manifest = {"format": _FORMAT, "counters": counters, "files": files}
    durable_files.replace_text(directory / _MANIFEST, json.dumps(manifest, indent=1))


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        found = manifest["format"]
        if found != _FORMAT:
            raise SnapshotError(f"{path} has format {found}, this version reads {_FORMAT}")
        return {"counters": dict(manifest["counters"]), "files": dict(manifest["files"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{path} is damaged: {_MANIFEST} can't be read ({error})") from error

"""The checkpoints in a server's directory: each a directory, with a DONE once it is whole.

When Reverb has written one, it deletes all others but the newest by name, which is a time.
"""

import shutil
from pathlib import Path

from core import durable_files

_DONE = "DONE"
# In front of a name: older than all times.
_LONG_AGO = "0001-01-01T"


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is there, and whole."""
    try:
        # Listed, as a file system of several machines may remember that there was no such file.
        return any(entry.name == _DONE for entry in path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def whole(root: Path) -> list[Path]:
    """The checkpoints that are whole, oldest first."""
    return sorted(path for path in root.iterdir() if is_whole(path))


def unfinished(root: Path) -> list[Path]:
    """Those that are not whole: being written, or left by a server that died or failed."""
    return [path for path in root.iterdir() if path.is_dir() and not is_whole(path)]


def remove_unfinished(root: Path) -> None:
    """Deletes those that are not whole, as far as it can; none must be under way."""
    for path in unfinished(root):
        shutil.rmtree(path, ignore_errors=True)


def make_durable(path: Path) -> None:
    """Waits until a whole checkpoint is on the disk; Reverb itself does not.

    Raises:
      FileNotFoundError: it is not there, or not whole.
      OSError: it can't be written to disk.
    """
    if not is_whole(path):
        raise FileNotFoundError(f"{path}: not there, or not whole")
    for entry in (*path.iterdir(), path, path.parent):
        durable_files.flush(entry)


def make_older(root: Path, name: str) -> None:
    """Renames whole checkpoints whose names come after a name, so that they come before it.

    Else, after the clock was set back, Reverb would go on to delete what it has just written.
    """
    for path in whole(root):
        if path.name > name:
            path.rename(path.with_name(f"{_LONG_AGO}{path.name}"))

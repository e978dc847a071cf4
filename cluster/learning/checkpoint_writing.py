"""A checkpoint of the replay: written by the server, one at a time, and on the disk in the end."""

import time
from pathlib import Path

from absl import logging

from replay.reverb import checkpoint_mark, wire
from replay.reverb.server import checkpoint_files

_CHECKPOINT_S = 1800.0
# A checkpoint under way grows all the time, but other machines may see that late.
_ABANDONED_S = 300.0
_SAID_S = 60


def write(
    client: wire.Client, incarnation: int, mark: checkpoint_mark.Mark, root: Path
) -> tuple[int, checkpoint_mark.Mark]:
    """Has the server write a checkpoint; returns its incarnation and mark.

    Args:
      client: of the server.
      incarnation: the server's, as the mark is of it.
      mark: what the checkpoint has.
      root: the directory of the server's checkpoints, as seen from here.

    Raises:
      wire.WireError: it was not written, or by another incarnation than the mark's.
      OSError: it is not on the disk.
    """
    checkpoint_mark.write(client, mark)
    path = root / Path(_write(client, root)).name
    if client.incarnation() != incarnation:
        raise wire.WireUnavailableError(f"checkpoint {path}: the server was restarted meanwhile")
    if not checkpoint_files.is_whole(path):
        checkpoint_files.make_older(root, path.name)
        raise wire.WireError(
            f"checkpoint {path}: deleted as the older one: was the clock set back?"
        )
    checkpoint_files.make_durable(path)
    return incarnation, mark


def _write(client: wire.Client, root: Path) -> str:
    """The checkpoint's path on the server's machine; the rest of one that fails is deleted."""
    try:
        return client.checkpoint(_CHECKPOINT_S)
    except (wire.WireUnavailableError, wire.WireTimeoutError):
        raise  # it may still be written
    except wire.WireError:
        checkpoint_files.remove_unfinished(root)
        raise


class UnfinishedCheckpoints:
    """Those that an earlier learner has begun, or a connection that broke.

    Two at a time would delete each other: see replay/reverb/server/checkpoint_files.py.
    """

    def __init__(self, root: Path):
        """Looks at nothing yet.

        Args:
          root: the directory of the server's checkpoints.
        """
        self._root = root
        self._sizes: dict[Path, int] = {}
        self._changed_at = 0.0

    def may_be_written(self) -> bool:
        """Whether the server may be writing one; deletes those that do not grow for long."""
        try:
            sizes = _sizes(self._root)
        except OSError as error:  # deleted meanwhile, or a shared file system that fails
            logging.log_every_n_seconds(logging.WARNING, "no checkpoint: %s", _SAID_S, error)
            return True
        now = time.monotonic()
        if sizes != self._sizes:
            self._sizes, self._changed_at = sizes, now
        if sizes and now - self._changed_at > _ABANDONED_S:
            checkpoint_files.remove_unfinished(self._root)
            return False
        return bool(sizes)


def _sizes(root: Path) -> dict[Path, int]:
    """The sizes of what is in unfinished checkpoints, in bytes."""
    paths = checkpoint_files.unfinished(root)
    files = [file for path in paths for file in (path, *path.iterdir())]
    return {file: file.stat().st_size for file in files}

"""Snapshots of the learner and checkpoints of the replay; a disk that fails ends no run."""

import concurrent.futures
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

from replay import wire
from training import snapshot
from training.roles import feed as feed_lib
from training.roles import ledger as ledger_lib
from training.roles import messages

_CHECKPOINT_S = 1800.0


class Saver:
    """Saves both at about the same moment, each in the background.

    Either may fail without the other: a restored learner and a restored replay need not be of the
    same moment, as each knows what the other has done since.

    Attributes:
      confirmed: by life, the last record of an actor's journal that the newest checkpoint has.
    """

    def __init__(
        self,
        store: snapshot.SnapshotStore,
        feed: feed_lib.Feed,
        ledger: ledger_lib.Ledger,
        contents: Callable[[Path | None], snapshot.Contents],
    ):
        """Saves nothing yet.

        Args:
          store: of the run's snapshots.
          feed: the connection to the replay.
          ledger: what the actors have reported.
          contents: see SnapshotStore.save.
        """
        self._store, self._feed, self._ledger = store, feed, ledger
        self._contents = contents
        self.confirmed: Mapping[int, int] = {}
        self._saved: Mapping[str, int] | None = None
        self._executor = concurrent.futures.ThreadPoolExecutor(1)
        self._checkpoint: concurrent.futures.Future | None = None
        self._is_checkpoint_wanted = False

    def save(self, counters: Mapping[str, int]) -> None:
        """Begins a snapshot, unless there is one of these counts, and a checkpoint."""
        if self._saved != counters:
            self._begin_snapshot(counters)
        self._is_checkpoint_wanted = True
        self.tend()

    def _begin_snapshot(self, counters: Mapping[str, int]) -> None:
        # The first attempt may only tell that the write before it failed.
        for _ in range(2):
            try:
                self._store.save(self._contents)
                self._saved = dict(counters)
                return
            except snapshot.SnapshotError as error:
                logging.error("%s; the run goes on", error)

    def tend(self) -> None:
        """Notes what a finished checkpoint has; begins the next one if it is wanted."""
        if self._checkpoint is not None and self._checkpoint.done():
            error = self._checkpoint.exception()
            if error is None:
                self.confirmed = self._checkpoint.result()
            else:
                logging.error("replay not checkpointed: %s; the run goes on", error)
            self._checkpoint = None
        if self._checkpoint is None and self._is_checkpoint_wanted and self._feed.is_open:
            self._is_checkpoint_wanted = False
            incarnation = self._feed.incarnation
            confirmed = self._ledger.confirmed(messages.short_incarnation(incarnation))
            self._checkpoint = self._executor.submit(
                _checkpoint, self._feed.client, incarnation, confirmed
            )

    def wait_for_snapshot(self) -> None:
        """Waits until the snapshot is written, or has failed."""
        try:
            self._store.wait()
        except snapshot.SnapshotError as error:
            self._saved = None
            logging.error("%s; the run goes on", error)

    def wait_for_checkpoint(self, timeout_s: float) -> None:
        """Waits for the checkpoint, the one that may have been wanted after it included."""
        end = time.monotonic() + timeout_s
        while self._checkpoint is not None and time.monotonic() < end:
            concurrent.futures.wait([self._checkpoint], end - time.monotonic())
            self.tend()

    def close(self) -> None:
        """Begins nothing any more; a checkpoint under way ends with the connection."""
        self._executor.shutdown(wait=False)


def _checkpoint(
    client: wire.Client, incarnation: int, confirmed: Mapping[int, int]
) -> Mapping[int, int]:
    """Has the server write a checkpoint; returns what is in it of the actors' journals.

    Raises:
      wire.WireError: it was not written, or by another incarnation than `confirmed` is about.
    """
    path = client.checkpoint(_CHECKPOINT_S)
    if client.incarnation() != incarnation:
        raise wire.WireError(f"checkpoint {path}: the server was restarted meanwhile")
    return confirmed

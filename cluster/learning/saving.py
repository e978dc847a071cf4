"""Snapshots of the learner and checkpoints of the replay; a failing disk ends no run."""

import concurrent.futures
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

from cluster.accounts import actor_accounts
from cluster.learning import checkpoint_writing, replay_reader
from cluster.messages import messages
from replay.reverb import wire
from training.checkpoints import snapshot

_RETRY_S = 5.0
_MAX_RETRY_S = 60.0
_POLL_S = 0.5


class Saver:
    """Saves both at about the same moment, each in the background.

    Either may fail without the other: a restored learner and a restored replay need not be from the
    same moment, as each knows what the other has done since.

    Attributes:
      confirmed: by journal, the last record of an actor's journal that the newest checkpoint has.
    """

    def __init__(
        self,
        store: snapshot.SnapshotStore,
        reader: replay_reader.ReplayReader,
        accounts: actor_accounts.ActorAccounts,
        contents: Callable[[Path | None], snapshot.Contents],
        max_transitions: int,
        checkpoints: Path,
    ):
        """Saves nothing yet.

        Args:
          store: of the run's snapshots.
          reader: the connection to the replay.
          accounts: what the actors have reported.
          contents: see SnapshotStore.save.
          max_transitions: after this many a checkpoint is due in any case.
          checkpoints: the directory of the replay's.
        """
        self._store, self._reader, self._accounts = store, reader, accounts
        self._contents = contents
        self._max_transitions = max_transitions
        # Those of a learner that goes on are in the checkpoint of its snapshot.
        self._transitions = accounts.transitions
        self._root = checkpoints
        self._unfinished = checkpoint_writing.UnfinishedCheckpoints(checkpoints)
        self._not_before, self._retry_s = 0.0, _RETRY_S
        # Of the last checkpoint, and whether its connection broke.
        self._client: wire.Client | None = None
        self._is_cut = False
        self.confirmed: Mapping[int, int] = {}
        self._saved: Mapping[str, int] | None = None
        self._executor = concurrent.futures.ThreadPoolExecutor(1)
        self._checkpoint: concurrent.futures.Future | None = None
        self._is_checkpoint_wanted = False

    def save(self, counters: Mapping[str, int]) -> None:
        """Begins a checkpoint, and a snapshot unless there is one of these counts."""
        self.save_snapshot(counters)
        self.want_checkpoint()
        self.tend()

    def save_snapshot(self, counters: Mapping[str, int]) -> None:
        """Begins a snapshot, unless there is one of these counts, or it is under way."""
        if self._saved == counters:
            return
        # The first attempt may only report that the previous write failed.
        for _ in range(2):
            try:
                self._store.save(self._contents)
                self._saved = dict(counters)
                return
            except snapshot.SnapshotError as error:
                logging.error("%s; the run goes on", error)

    def write_snapshot(self, counters: Mapping[str, int], give_up: Callable[[], bool]) -> bool:
        """Writes a snapshot of these counts, and tries again until there is one.

        Args:
          counters: of the run.
          give_up: whether not to try again; asked every few seconds.

        Returns:
          Whether there is one.
        """
        while True:
            self.save_snapshot(counters)
            self.wait_for_snapshot()
            if self._saved == counters:
                return True
            if give_up():
                return False
            time.sleep(_RETRY_S)

    def want_checkpoint(self) -> None:
        """Requests a checkpoint, once none is under way."""
        self._is_checkpoint_wanted = True

    @property
    def is_checkpointing(self) -> bool:
        """Whether a checkpoint of this learner is under way."""
        return self._checkpoint is not None

    @property
    def may_change_table(self) -> bool:
        """Whether no checkpoint, also of an earlier learner, can have half of a change."""
        return not (self.is_checkpointing or self._unfinished.may_be_written())

    def tend(self) -> None:
        """Notes what a finished checkpoint has; begins the next one if it is due.

        Raises:
          wire.WireError: the connection broke.
        """
        if self._checkpoint is not None and self._checkpoint.done():
            checkpoint, self._checkpoint = self._checkpoint, None
            self._note_end(checkpoint)
        num_new = self._accounts.transitions - self._transitions
        is_due = self._is_checkpoint_wanted or num_new >= self._max_transitions
        is_possible = self._reader.is_open and time.monotonic() >= self._not_before
        if self._checkpoint is None and is_due and is_possible:
            if self._unfinished.may_be_written():
                self._not_before = time.monotonic() + _POLL_S
            else:
                self._begin_checkpoint()

    def _begin_checkpoint(self) -> None:
        self._is_checkpoint_wanted = False
        self._transitions = self._accounts.transitions
        incarnation = self._reader.incarnation
        reported = self._accounts.confirmed(messages.short_incarnation(incarnation))
        # An actor may not have told this server yet what it was restored with.
        mark = self._reader.mark
        mark = mark._replace(confirmed=_later(mark.confirmed, reported))
        self._client = self._reader.client
        self._checkpoint = self._executor.submit(
            checkpoint_writing.write, self._client, incarnation, mark, self._root
        )

    def _note_end(self, checkpoint: concurrent.futures.Future) -> None:
        error = checkpoint.exception()
        self._is_cut = isinstance(error, wire.WireUnavailableError)
        if error is not None:
            logging.error("replay not checkpointed: %s; the run goes on", error)
            self._is_checkpoint_wanted = True
            self._not_before = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S)
            return
        self._retry_s = _RETRY_S
        incarnation, mark = checkpoint.result()
        self.confirmed = mark.confirmed
        if not mark.is_saved and self._reader.is_open and self._reader.incarnation == incarnation:
            self._reader.set_mark(mark._replace(is_saved=True))

    def wait_for_snapshot(self) -> None:
        """Waits until the snapshot is written, or has failed."""
        try:
            self._store.wait()
        except snapshot.SnapshotError as error:
            self._saved = None
            logging.error("%s; the run goes on", error)

    def wait_for_checkpoint(self, timeout_s: float, tries_again: bool = False) -> bool:
        """Waits for the checkpoint, and for another if one was requested after it.

        Args:
          timeout_s: how long, in seconds.
          tries_again: whether also for the next one if it fails, while there is a connection.

        Returns:
          Whether the last one that was requested is there.

        Raises:
          wire.WireError: the connection broke.
        """
        end = time.monotonic() + timeout_s
        while self._checkpoint is not None or (tries_again and self._is_checkpoint_wanted):
            is_lost = (self._is_cut and self._client is self._reader.client) or (
                not self._reader.is_open
            )
            if time.monotonic() > end or (self._checkpoint is None and is_lost):
                break
            if self._checkpoint is None:
                time.sleep(_POLL_S)
            else:
                concurrent.futures.wait([self._checkpoint], end - time.monotonic())
            self.tend()
        return self._checkpoint is None and not self._is_checkpoint_wanted

    def close(self) -> None:
        """Begins nothing more; a checkpoint under way ends with the connection."""
        self._executor.shutdown(wait=False)


def _later(first: Mapping[int, int], second: Mapping[int, int]) -> dict[int, int]:
    """By journal, the larger one of two records."""
    return {i: max(first.get(i, 0), second.get(i, 0)) for i in sorted({*first, *second})}

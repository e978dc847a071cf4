"""Snapshots of the learner and checkpoints of the replay; a failing disk ends no run."""

import concurrent.futures
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

from cluster.accounts import actor_accounts
from cluster.learning import replay_reader
from cluster.messages import messages
from replay.reverb import checkpoint_mark, wire
from training.checkpoints import snapshot

_CHECKPOINT_S = 1800.0
_RETRY_S = 5.0


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
    ):
        """Saves nothing yet.

        Args:
          store: of the run's snapshots.
          reader: the connection to the replay.
          accounts: what the actors have reported.
          contents: see SnapshotStore.save.
          max_transitions: after this many a checkpoint is due in any case.
        """
        self._store, self._reader, self._accounts = store, reader, accounts
        self._contents = contents
        self._max_transitions = max_transitions
        self._transitions = 0
        self._not_before = 0.0
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
        """Begins a snapshot, unless there is one of these counts."""
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

    def want_checkpoint(self) -> None:
        """Requests a checkpoint, once none is under way."""
        self._is_checkpoint_wanted = True

    @property
    def is_checkpointing(self) -> bool:
        """Whether a checkpoint is under way."""
        return self._checkpoint is not None

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
            self._begin_checkpoint()

    def _begin_checkpoint(self) -> None:
        self._is_checkpoint_wanted = False
        self._transitions = self._accounts.transitions
        incarnation = self._reader.incarnation
        confirmed = self._accounts.confirmed(messages.short_incarnation(incarnation))
        mark = self._reader.mark._replace(confirmed=confirmed)
        self._checkpoint = self._executor.submit(
            _checkpoint, self._reader.client, incarnation, mark
        )

    def _note_end(self, checkpoint: concurrent.futures.Future) -> None:
        error = checkpoint.exception()
        if error is not None:
            logging.error("replay not checkpointed: %s; the run goes on", error)
            self._not_before = time.monotonic() + _RETRY_S
            return
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

    def wait_for_checkpoint(self, timeout_s: float) -> None:
        """Waits for the checkpoint, and for another if one was requested after it."""
        end = time.monotonic() + timeout_s
        while self._checkpoint is not None and time.monotonic() < end:
            concurrent.futures.wait([self._checkpoint], end - time.monotonic())
            self.tend()

    def close(self) -> None:
        """Begins nothing more; a checkpoint under way ends with the connection."""
        self._executor.shutdown(wait=False)


def _checkpoint(
    client: wire.Client, incarnation: int, mark: checkpoint_mark.Mark
) -> tuple[int, checkpoint_mark.Mark]:
    """Has the server write a checkpoint; returns its incarnation and mark.

    Raises:
      wire.WireError: it was not written, or by another incarnation than the mark's.
    """
    checkpoint_mark.write(client, mark)
    path = client.checkpoint(_CHECKPOINT_S)
    if client.incarnation() != incarnation:
        raise wire.WireError(f"checkpoint {path}: the server was restarted meanwhile")
    return incarnation, mark

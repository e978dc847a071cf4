"""Writes transitions so that none in the journal is lost, and none is inserted twice."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from replay.reverb import connection, wire
from replay.reverb.wire import wire_writer
from replay.reverb.writing import actor_journal, delivery, pausing, record_stream, server_connection
from replay.reverb.writing.pausing import Stop


class JournalProgress(NamedTuple):
    """How far a writer has come, safe to report to others: it stays true if the machine crashes.

    A journal may be truncated by it after a checkpoint of the server if it was known before the
    checkpoint began, and its incarnation is the server's both then and afterwards.

    Attributes:
      journal_id: of the journal.
      incarnation: of the server that confirmed.
      confirmed_through: number of the last record such that this server has confirmed it and all
        before, or they had been truncated.
      last_seq: number of the newest record in the journal.
      counters: of that record.
    """

    journal_id: int
    incarnation: int
    confirmed_through: int
    last_seq: int
    counters: Mapping[str, int]


class JournaledWriter(wire_writer.ChunkMaker, contextlib.AbstractContextManager):
    """A stream of chunks and items to a server that may go away and come back; for one thread.

    Every insert is one record of a journal: an InsertRequest, which is sent to the server as it is,
    with permanent keys. A segment of the journal contains every chunk that its records need, so
    they can be resent from its start. When the connection breaks, or nothing answers, the writer
    reconnects: to the same incarnation of the server it resends what was not confirmed, to another
    what came after its mark and is still of use, oldest first (see resend_plan).

    A resent item that the server has is not inserted again, but its initial priority is restored.
    This affects items whose confirmation was on its way when the connection broke, or came after
    the last call before this process was killed (at most `max_pending`, and the rest of their
    record), and those that reached a restored server between its mark and its checkpoint.
    """

    def __init__(
        self,
        journal: actor_journal.Journal,
        connect: server_connection.Connect,
        stop: Stop,
        who: str,
        capacity: int,
        max_pending: int = 64,
        silence_s: float = 15.0,
        while_waiting: Callable[[], None] = lambda: None,
    ):
        """Connects, and sends what the journal has and the server needs.

        Args:
          journal: of this writer alone; it stays open when the writer is closed.
          connect: gives a client of a server that is ready, as `connection.connect` does; raises
            connection.Stopped when its argument says so.
          stop: whether to end all waiting, except in `flush`.
          who: the name for the log.
          capacity: items that the server's table holds.
          max_pending: items that may be unconfirmed; `insert` waits when there would be more.
          silence_s: a connection counts as broken after so long without an answer.
          while_waiting: called about twice a second while a call waits for the server or the disk,
            except this one; it may call `progress` and `truncate`.

        Raises:
          connection.Stopped: `stop` said so.
          wire.WireError: the server refuses what it is sent, several times in a row.
        """
        if max_pending < 1:
            raise ValueError(f"max_pending = {max_pending}: expected an integer >= 1")
        super().__init__()
        self._journal = journal
        self._stop = stop
        self._max_pending = max_pending
        self._records = _RecordWriter(journal)
        self._pauses = pausing.Pauses(who)
        self._delivery = delivery.Delivery(
            journal, connect, self._pauses, capacity, max_pending, silence_s
        )
        self._delivery.open(stop)
        try:
            self._delivery.settle(max_pending, stop)
        except BaseException:
            self.close()
            raise
        self._pauses.while_waiting = while_waiting

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_pending(self) -> int:
        """Items that were sent but not confirmed yet."""
        return self._delivery.num_pending

    @property
    def confirmed_through(self) -> int:
        """Number of the last record confirmed, with all before it, by the current incarnation.

        Truncated records count as confirmed.
        """
        return self._delivery.confirmed_through

    @property
    def journal_id(self) -> int:
        """Of the journal."""
        return self._journal.journal_id

    @property
    def incarnation(self) -> int:
        """That of the confirming server; 0 before the first."""
        return self._journal.incarnation or 0

    @property
    def is_settled(self) -> bool:
        """Whether the server has confirmed all records, or has no use for them."""
        return self.confirmed_through == self._journal.last_seq

    def progress(self) -> JournalProgress:
        """Flushes the journal to disk, and reports what it has.

        Raises:
          OSError: it can't be written to disk.
        """
        self._journal.sync()
        return JournalProgress(
            journal_id=self.journal_id,
            incarnation=self.incarnation,
            confirmed_through=self.confirmed_through,
            last_seq=self._journal.last_seq,
            counters=self._journal.counters,
        )

    def insert(self, items: Sequence[wire.NewItem], counters: Mapping[str, int]) -> None:
        """Writes items into the journal, as one record, and sends them.

        Waits, as long as it takes, for room on the disk, for the server, and for room among the
        unconfirmed items; the log says why.

        Args:
          items: at most `max_pending`; none, to write only the counters to the journal.
          counters: what is true when these items are in the journal; see `Journal.counters`.

        Raises:
          ValueError: an item can't be written; the journal is unchanged.
          connection.Stopped: `stop` said so. The journal's `last_seq` tells whether the record is
            in it; if so, it is sent when the journal is next used.
          wire.WireError: the server refuses what it is sent, several times in a row.
          OSError: the disk fails for a reason other than lack of room; the journal is unchanged.
        """
        if len(items) > self._max_pending:
            raise ValueError(f"{len(items)} items at once: expected at most {self._max_pending}")
        new = [wire_writer.keyed(item) for item in items]
        fresh = self._pauses.until_there_is_room(
            lambda: self._records.append(new, counters),
            self._stop,
            f"the journal in {self._journal.directory}",
        )
        self._delivery.settle(self._max_pending, self._stop, fresh)

    def serve(self) -> None:
        """Connects again if the connection has broken, and sends what the server then lacks.

        For an idle writer: `insert` does this by itself.

        Raises:
          connection.Stopped: `stop` said so.
          wire.WireError: the server refuses what it is sent, several times in a row.
        """
        self._delivery.repair(self._stop)

    def flush(self, timeout_s: float) -> None:
        """Waits until every record is confirmed, whatever `stop` says.

        Raises:
          wire.WireTimeoutError: it takes longer than `timeout_s` seconds.
          wire.WireError: the server refuses what it is sent, several times in a row.
        """
        end = time.monotonic() + timeout_s
        try:
            self._delivery.settle(0, lambda: time.monotonic() > end)
        except connection.Stopped as error:
            left = self._journal.last_seq - self.confirmed_through
            raise wire.WireTimeoutError(
                f"{self._pauses.who}: {left} records unconfirmed after {timeout_s:g} s; they are "
                "in the journal"
            ) from error

    def truncate(self, through_seq: int) -> None:
        """Drops records that can't be needed again: a checkpoint of the server has them.

        Those that the current incarnation has not confirmed stay until it has, and this is called
        again.

        Raises:
          OSError: the disk fails for a reason other than lack of room.
        """
        through_seq = min(through_seq, self.confirmed_through)
        pausing.unless_full(lambda: self._journal.truncate(through_seq))

    def close(self) -> None:
        """Ends the stream; what is unconfirmed is in the journal."""
        self._delivery.close()


class _RecordWriter:
    """Writes records so that each segment of the journal has every chunk that its records need."""

    def __init__(self, journal: actor_journal.Journal):
        self._journal = journal
        # The chunks in the records of one segment that later ones may refer to.
        self._segment = 0
        self._held: dict[int, wire.Chunk] = {}

    def append(
        self, items: Sequence[wire_writer.Keyed], counters: Mapping[str, int]
    ) -> record_stream.Outgoing:
        """Writes a record, with the chunks that its segment does not have yet. Raises OSError."""
        segment = self._journal.segment_of(self._journal.last_seq + 1)
        held = self._held if segment == self._segment else {}
        request, held = wire_writer.request(items, held)
        record = request.SerializeToString()
        seq = self._journal.append(record, counters)
        self._segment, self._held = segment, held
        return record_stream.Outgoing(seq, [item.message.key for item in items], record)

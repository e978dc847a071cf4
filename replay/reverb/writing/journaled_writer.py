"""Writing transitions so that none that is in the journal is lost, and none comes twice."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from replay.reverb import connection, wire
from replay.reverb.wire import wire_writer
from replay.reverb.writing import actor_journal, delivery, pausing, record_stream, server_connection
from replay.reverb.writing.pausing import Stop


class JournalProgress(NamedTuple):
    """How far a writer has come, as may be told to others: it stays true if the machine crashes.

    Journals may be truncated by it after a checkpoint of the server if it was known before the
    checkpoint began, and its incarnation is that of the server both then and afterwards.

    Attributes:
      journal_id: of the journal.
      incarnation: of the server that confirmed.
      confirmed_through: number of the last record such that this server has confirmed it and all
        before, or they had been truncated.
      last_seq: number of the newest record in the journal.
      counters: what that record came with.
    """

    journal_id: int
    incarnation: int
    confirmed_through: int
    last_seq: int
    counters: Mapping[str, int]


class JournaledWriter(wire_writer.ChunkMaker, contextlib.AbstractContextManager):
    """A stream of chunks and items into a server that may go and come back; for one thread.

    Every insert is one record of a journal: an InsertRequest, which goes to the server as it is,
    under keys that stay. A segment of the journal brings every chunk that its records need, so
    they can be sent again from its begin. When the connection breaks, or nothing answers, the
    writer connects anew: to the same incarnation of the server it sends again what was not
    confirmed, to another what came after its mark and is still of use, oldest first (see
    resend_plan).

    An item that the server has is not inserted again, but gets its first priority again. That
    remains for items whose confirmation was on its way when the connection broke, or came after the
    last call before this process was killed (at most `max_pending`, and the rest of their record),
    and for those that came to a restored server between its mark and its checkpoint.
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
          connect: gives a client of a server that is ready, as `connection.connect` does; ends by
            connection.Stopped when what it is given says so.
          stop: whether to end all waiting, but that of `flush`.
          who: to name in the log.
          capacity: items that the server's table holds.
          max_pending: items that may be unconfirmed; `insert` waits when there would be more.
          silence_s: a connection counts as broken when nothing answers for so long.
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
        """Number of the last record that is confirmed with all before, by the present incarnation.

        Those that were truncated count as confirmed.
        """
        return self._delivery.confirmed_through

    @property
    def journal_id(self) -> int:
        """Of the journal."""
        return self._journal.journal_id

    @property
    def incarnation(self) -> int:
        """Of the server that has confirmed; 0 before the first."""
        return self._journal.incarnation or 0

    @property
    def is_settled(self) -> bool:
        """Whether that server has confirmed all records, or has no use for them."""
        return self.confirmed_through == self._journal.last_seq

    def progress(self) -> JournalProgress:
        """Writes the journal through to the disk, and tells what it has.

        Raises:
          OSError: the disk does not take it.
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
        unconfirmed items; the log tells why.

        Args:
          items: at most `max_pending`; none, to have the counters alone in the journal.
          counters: what is true when these items are in the journal; see `Journal.counters`.

        Raises:
          ValueError: an item can't be written; nothing is in the journal.
          connection.Stopped: `stop` said so. Whether the record is in the journal tells the
            journal's `last_seq`; if so, it is sent when the journal is next used.
          wire.WireError: the server refuses what it is sent, several times in a row.
          OSError: the disk fails, not only for lack of room; nothing is in the journal.
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

        For a writer that is idle: one that inserts does so by itself.

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

        Those that the present incarnation has not confirmed stay, until they are and this is called
        again.

        Raises:
          OSError: the disk fails, not only for lack of room.
        """
        through_seq = min(through_seq, self.confirmed_through)
        pausing.unless_full(lambda: self._journal.truncate(through_seq))

    def close(self) -> None:
        """Ends the stream; what is unconfirmed is in the journal."""
        self._delivery.close()


class _RecordWriter:
    """Writes records so that a segment of the journal has every chunk that its records need."""

    def __init__(self, journal: actor_journal.Journal):
        self._journal = journal
        # The chunks that the records of one segment have brought and later ones may refer to.
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

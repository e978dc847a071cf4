"""Writing transitions so that none that is in the journal is lost, and none comes twice."""

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from absl import logging

from replay.reverb import checkpoint_mark, connection, wire
from replay.reverb.wire import insert_stream, messages
from replay.reverb.wire import writer as writer_lib
from replay.reverb.writing import journal as journal_lib

Stop = Callable[[], bool]
_Result = TypeVar("_Result")

_BLOCKED_LOG_S = 60.0
_PROBE_EVERY_S = 2.5
_PROBE_TIMEOUT_S = 2.0
_MAX_REFUSALS = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Progress(NamedTuple):
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


class _Fresh(NamedTuple):
    """The record that was just written: what to send if the stream has had all before."""

    seq: int
    keys: list[int]
    record: bytes


class JournaledWriter(writer_lib.ChunkMaker):
    """A stream of chunks and items into a server that may go and come back; for one thread.

    Every insert is one record of a journal: an InsertRequest, which goes to the server as it is,
    under keys that stay. A segment of the journal brings every chunk that its records need, so
    they can be sent again from its begin. When the connection breaks, or nothing answers, the
    writer connects anew: to the same incarnation of the server it sends again what was not
    confirmed, to another what came after its mark and is still of use, oldest first (see
    checkpoint_mark).

    An item that the server has is not inserted again, but gets its first priority again. That
    remains for items whose confirmation was on its way when the connection broke, or came after the
    last call before this process was killed (at most `max_pending`, and the rest of their record),
    and for those that came to a restored server between its mark and its checkpoint.
    """

    def __init__(
        self,
        journal: journal_lib.Journal,
        connect: Callable[[Stop], wire.Client],
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
        self._connect = connect
        self._stop = stop
        self._who = who
        self._capacity = capacity
        self._max_pending = max_pending
        self._silence_s = silence_s
        self._while_waiting: Callable[[], None] = lambda: None
        # The chunks that the records of one segment have brought and later ones may refer to.
        self._segment = 0
        self._held: dict[int, wire.Chunk] = {}
        # The last record that the stream was sent, and that the server was, by any stream.
        self._sent = self._sent_ever = journal.confirmed
        # Of the server, and the newest record when it was read: no later one is left out.
        self._mark, self._marked = checkpoint_mark.Mark(), 0
        # Whether the stream was sent all chunks that the next record takes for granted.
        self._in_step = False
        self._refusals, self._refused_at = 0, 0
        self._client, self._stream = self._reach({}, stop)
        try:
            self._settle(max_pending, stop)
        except BaseException:
            self.close()
            raise
        self._while_waiting = while_waiting

    def __enter__(self) -> "JournaledWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_pending(self) -> int:
        """Items that were sent but not confirmed yet."""
        return self._stream.num_unconfirmed

    @property
    def confirmed_through(self) -> int:
        """Number of the last record that is confirmed with all before, by the present incarnation.

        Those that were truncated count as confirmed.
        """
        oldest = self._stream.oldest
        return self._sent_ever if oldest is None else oldest - 1

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

    def progress(self) -> Progress:
        """Writes the journal through to the disk, and tells what it has.

        Raises:
          OSError: the disk does not take it.
        """
        self._journal.sync()
        return Progress(
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
        new = [writer_lib.keyed(item) for item in items]
        fresh = self._when_there_is_room(lambda: self._append(new, counters), self._stop)
        self._settle(self._max_pending, self._stop, fresh)

    def serve(self) -> None:
        """Connects again if the connection has broken, and sends what the server then lacks.

        For a writer that is idle: one that inserts does so by itself.

        Raises:
          connection.Stopped: `stop` said so.
          wire.WireError: the server refuses what it is sent, several times in a row.
        """
        if self._stream.error is not None:
            self._reconnect(self._stream.error, self._stop)
            self._settle(self._max_pending, self._stop)

    def flush(self, timeout_s: float) -> None:
        """Waits until every record is confirmed, whatever `stop` says.

        Raises:
          wire.WireTimeoutError: it takes longer than `timeout_s` seconds.
          wire.WireError: the server refuses what it is sent, several times in a row.
        """
        end = time.monotonic() + timeout_s
        try:
            self._settle(0, lambda: time.monotonic() > end)
        except connection.Stopped as error:
            left = self._journal.last_seq - self.confirmed_through
            raise wire.WireTimeoutError(
                f"{self._who}: {left} records unconfirmed after {timeout_s:g} s; they are in the "
                "journal"
            ) from error

    def truncate(self, through_seq: int) -> None:
        """Drops records that can't be needed again: a checkpoint of the server has them.

        Those that the present incarnation has not confirmed stay, until they are and this is called
        again.

        Raises:
          OSError: the disk fails, not only for lack of room.
        """
        self._unless_full(lambda: self._journal.truncate(min(through_seq, self.confirmed_through)))

    def close(self) -> None:
        """Ends the stream; what is unconfirmed is in the journal."""
        self._stream.close()
        self._note_confirmed()
        self._client.close()

    def _append(self, items: list[writer_lib.Keyed], counters: Mapping[str, int]) -> _Fresh:
        """Writes a record, with the chunks that its segment of the journal does not have yet."""
        segment = self._journal.next_segment
        held = self._held if segment == self._segment else {}
        request, held = writer_lib.request(items, held)
        record = request.SerializeToString()
        seq = self._journal.append(record, counters)
        self._segment, self._held = segment, held
        return _Fresh(seq, [item.message.key for item in items], record)

    def _settle(self, num_pending: int, stop: Stop, fresh: _Fresh | None = None) -> None:
        """Sends what was not, until at most so many items are unconfirmed, connecting as needed."""
        while True:
            try:
                if fresh is not None and self._in_step and self._sent == fresh.seq - 1:
                    self._send(fresh.seq, fresh.keys, fresh.record, stop)
                self._send_from_disk(stop)
                self._wait(num_pending, stop)
                break
            except wire.WireError as error:
                self._reconnect(error, stop)
        self._note_confirmed()

    def _send_from_disk(self, stop: Stop) -> None:
        if self._sent < self._journal.last_seq:
            for seq, request in self._unsent():
                self._send(seq, [item.key for item in request.items], request, stop)

    def _unsent(self) -> Iterator[tuple[int, Any]]:
        """The requests that the stream lacks, with their numbers.

        Each is complete for a stream that has had those before it, but nothing else: records that
        need not be sent are read for their chunks.
        """
        sent = self._sent
        lacking: dict[int, Any] = {}
        begin = self._journal.segment_of(sent + 1)
        for seq, record in self._journal.records(begin - 1):
            request = messages.InsertRequest.FromString(record.content)
            if seq > sent and self._select(seq, record.counters, request):
                there = {chunk.key for chunk in request.chunks}
                request.chunks.extend(c for key, c in lacking.items() if key not in there)
                lacking = {}
            else:
                lacking.update((chunk.key, chunk) for chunk in request.chunks)
                kept = set(request.keep)
                lacking = {key: chunk for key, chunk in lacking.items() if key in kept}
            if seq > sent:
                yield seq, request
        self._in_step = not lacking

    def _select(self, seq: int, counters: Mapping[str, int], request: Any) -> bool:
        """Leaves in a request the items that this server needs; whether there are any.

        There are others only in records that another stream has brought to it, or that it was
        restored without and has no use for any more.
        """
        newest = self._journal.counters
        if seq <= self._marked and not checkpoint_mark.is_needed(
            counters, newest, self._mark, self._capacity
        ):
            del request.items[:]
        elif seq <= self._sent_ever:
            unconfirmed = self._stream.unconfirmed()
            for i in reversed(range(len(request.items))):
                if request.items[i].key not in unconfirmed:
                    del request.items[i]
        return bool(request.items)

    def _send(self, seq: int, keys: Sequence[int], request: Any, stop: Stop) -> None:
        """Sends a request, or its bytes, unless it has no items."""
        if seq > self._sent_ever:
            self._wait(max(self._max_pending - len(keys), 0), stop)
            self._stream.expect(dict.fromkeys(keys, seq))
            self._sent_ever = seq
        if keys:
            self._stream.send(request)
        self._sent = seq

    def _wait(self, num_pending: int, stop: Stop) -> None:
        """Waits until at most so many items are unconfirmed.

        Raises:
          wire.WireError: the connection is broken.
        """
        if self._stream.wait(num_pending, 0) <= num_pending:
            return
        watch = _Watch(self._client, self._who, self._silence_s)
        while self._stream.wait(num_pending, connection.POLL_S) > num_pending:
            self._pause(stop, 0)
            self._note_confirmed()
            watch.look()

    def _reconnect(self, error: wire.WireError, stop: Stop) -> None:
        """Ends the broken stream and opens another.

        Raises:
          wire.WireError: connecting does not help: the server keeps refusing what it is sent.
        """
        self._count_refusals(error)
        logging.warning("%s: %s: connecting again", self._who, error)
        self._stream.close()
        self._note_confirmed()
        self._client.close()
        self._in_step = False
        self._pause(stop, connection.POLL_S)
        self._client, self._stream = self._reach(self._stream.unconfirmed(), stop)

    def _count_refusals(self, error: wire.WireError) -> None:
        if isinstance(error, wire.WireUnavailableError | wire.WireTimeoutError):
            return
        if self.confirmed_through != self._refused_at:
            self._refusals = 0
        self._refusals += 1
        self._refused_at = self.confirmed_through
        if self._refusals >= _MAX_REFUSALS:
            raise error

    def _reach(
        self, unconfirmed: Mapping[int, int], stop: Stop
    ) -> tuple[wire.Client, insert_stream.InsertStream]:
        """Connects, and decides what to send, given the unconfirmed items' keys and records."""
        client, stream, incarnation, mark = self._open(stop)
        if incarnation == self._journal.incarnation:
            self._sent = next(iter(unconfirmed.values()), self._sent_ever + 1) - 1
        else:
            there = mark.confirmed.get(self._journal.journal_id, 0)
            self._when_there_is_room(
                lambda: self._journal.set_incarnation(incarnation, there), stop
            )
            self._mark, self._marked = mark, self._journal.last_seq
            self._sent = self._sent_ever = self._journal.confirmed
            unconfirmed = {}
        stream.adopt(unconfirmed)
        self._tell_what_is_sent(client.address, is_known=bool(unconfirmed))
        return client, stream

    def _open(
        self, stop: Stop
    ) -> tuple[wire.Client, insert_stream.InsertStream, int, checkpoint_mark.Mark]:
        """Connects; the server's incarnation is that at the other end of the stream."""
        patience = connection.Patience(self._who)
        while True:
            client = self._connect(lambda: self._polled(stop))
            # In this order: by itself, a client connects to the next server at its address.
            stream = insert_stream.InsertStream(client)
            try:
                incarnation = client.incarnation(_PROBE_TIMEOUT_S)
                return client, stream, incarnation, checkpoint_mark.read(client)
            except wire.WireError as error:
                patience.report(f"no answer to the first question ({error})")
            stream.close()
            client.close()
            self._pause(stop, connection.POLL_S)

    def _tell_what_is_sent(self, address: str, is_known: bool) -> None:
        count = self._journal.last_seq - self._sent
        if count:
            logging.warning(
                "%s: replay server at %s: sending records %d to %d again%s",
                self._who,
                address,
                self._sent + 1,
                self._journal.last_seq,
                ", what is unconfirmed of them" if is_known else "",
            )

    def _note_confirmed(self) -> None:
        """Has the next process know what need not be sent again."""
        self._unless_full(lambda: self._journal.set_confirmed(self.confirmed_through))

    def _unless_full(self, change: Callable[[], None]) -> None:
        """Makes a change that can be made later too: on some disks it needs room, for a moment."""
        try:
            change()
        except OSError as error:
            if error.errno not in _FULL:
                raise

    def _when_there_is_room(self, write: Callable[[], _Result], stop: Stop) -> _Result:
        """The result of something that writes to the disk, tried until the disk has room."""
        patience = None
        while True:
            try:
                return write()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                cause = f"no room for the journal in {self._journal.directory} ({error.strerror})"
            if patience is None:
                logging.warning("%s: %s: waiting", self._who, cause)
                patience = connection.Patience(self._who)
            patience.report(cause)
            self._pause(stop, connection.POLL_S)

    def _pause(self, stop: Stop, seconds: float) -> None:
        if self._polled(stop):
            raise connection.Stopped(f"{self._who}: asked to end while it waited")
        time.sleep(seconds)

    def _polled(self, stop: Stop) -> bool:
        self._while_waiting()
        return stop()


class _Watch:
    """Finds out whether items stay unconfirmed because the server is gone."""

    def __init__(self, client: wire.Client, who: str, silence_s: float):
        self._client = client
        self._silence_s = silence_s
        self._patience = connection.Patience(who, _BLOCKED_LOG_S)
        self._asked = self._answered = time.monotonic()

    def look(self) -> None:
        """Asks the server for a sign of life now and then, and logs that there is waiting.

        Raises:
          wire.WireTimeoutError: nothing has answered for too long.
        """
        now = time.monotonic()
        if now - self._asked < _PROBE_EVERY_S:
            return
        self._asked = now
        try:
            self._client.incarnation(_PROBE_TIMEOUT_S)
        except wire.WireError as error:
            if time.monotonic() - self._answered > self._silence_s:
                raise wire.WireTimeoutError(
                    f"no answer for {self._silence_s:g} s: {error}"
                ) from error
            return
        self._answered = time.monotonic()
        self._patience.report("the replay server lives, but has confirmed nothing")

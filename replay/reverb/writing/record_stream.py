"""Which records of a journal were sent, over successive streams, and are confirmed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from replay.reverb import checkpoint_mark
from replay.reverb.wire import insert_stream
from replay.reverb.writing import actor_journal, resend_plan


class Outgoing(NamedTuple):
    """A record to be sent: its number, its items' keys, an InsertRequest or the bytes of one."""

    seq: int
    keys: Sequence[int]
    request: Any


class RecordStream:
    """Keeps account of what was sent; for one thread."""

    _stream: insert_stream.InsertStream

    def __init__(self, journal: actor_journal.Journal, capacity: int):
        """There is no stream before `begin`.

        Args:
          journal: whose records are sent.
          capacity: items that the server's table holds.
        """
        self._journal = journal
        # The last record sent over this stream, and over any stream to the server.
        self._sent = self._sent_ever = journal.confirmed
        self._plan = resend_plan.ResendPlan(capacity, self._sent, self._sent)
        # Whether all chunks that the next record relies on were sent over the stream.
        self._is_in_step = False

    def begin(self, stream: insert_stream.InsertStream, mark: checkpoint_mark.Mark) -> None:
        """Begins with a server whose incarnation the journal has already noted.

        An earlier process may have begun with it: what it skipped by the mark is skipped again.

        Args:
          stream: to that server.
          mark: of the server.
        """
        confirmed = self._journal.confirmed
        self._plan = self._plan.to_new_server(mark, confirmed, self._journal.last_seq)
        self._sent_ever = confirmed
        self._use(stream)

    def resume(self, stream: insert_stream.InsertStream, unconfirmed: Mapping[int, int]) -> None:
        """Continues with a new stream to the same incarnation of the server.

        Args:
          stream: to that server.
          unconfirmed: what the previous stream left; see `unconfirmed`.
        """
        self._plan = self._plan.to_same_server(self._sent_ever, unconfirmed)
        stream.adopt(unconfirmed)
        self._use(stream)

    def _use(self, stream: insert_stream.InsertStream) -> None:
        self._stream = stream
        self._sent = self._plan.skip_through
        self._is_in_step = False

    @property
    def num_pending(self) -> int:
        """Items that were sent but not confirmed yet."""
        return self._stream.num_unconfirmed

    @property
    def unconfirmed(self) -> dict[int, int]:
        """The unconfirmed items' records by key, the oldest first."""
        return self._stream.unconfirmed()

    @property
    def confirmed_through(self) -> int:
        """Number of the last record confirmed, with all before it.

        Truncated records count as confirmed.
        """
        oldest = self._stream.oldest
        return self._sent_ever if oldest is None else oldest - 1

    @property
    def unsent(self) -> tuple[int, int]:
        """Numbers of the first record that the stream lacks and of the newest one."""
        return self._sent + 1, self._journal.last_seq

    def outgoing(self, fresh: Outgoing | None) -> Iterator[Outgoing]:
        """The records that the stream lacks, in order; pass each to `send`.

        Args:
          fresh: the record that was just written, which need not be read back.
        """
        if fresh is not None and self._is_in_step and self._sent == fresh.seq - 1:
            yield fresh
        if self._sent < self._journal.last_seq:
            requests = resend_plan.Requests(self._plan, self._sent, self._journal.counters)
            begin = self._journal.segment_of(self._sent + 1)
            for seq, request in requests.of(self._journal.records(begin - 1)):
                yield Outgoing(seq, [item.key for item in request.items], request)
            self._is_in_step = not requests.lacks_chunks

    def num_new(self, outgoing: Outgoing) -> int:
        """How many of a record's items were not counted as unconfirmed before."""
        return len(outgoing.keys) if outgoing.seq > self._sent_ever else 0

    def send(self, outgoing: Outgoing) -> None:
        """Sends a record, unless it has no items.

        Raises:
          wire.WireError: the stream is broken; the record is still unsent.
        """
        seq, keys, request = outgoing
        if seq > self._sent_ever:
            self._stream.expect(dict.fromkeys(keys, seq))
            self._sent_ever = seq
        if keys:
            self._stream.send(request)
        self._sent = seq

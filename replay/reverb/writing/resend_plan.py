"""Which parts of a journal to send to a server when a stream to it begins."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from replay.reverb import checkpoint_mark
from replay.reverb.wire import messages
from replay.reverb.writing import journal_files

_NO_MARK = checkpoint_mark.Mark()


@dataclasses.dataclass(frozen=True)
class ResendPlan:
    """Which records a stream needs, and which of their items; pure bookkeeping.

    Attributes:
      capacity: items that the server's table holds.
      skip_through: the stream needs no record through this one.
      sent_through: earlier streams have sent the records through this one to the same server: of
        these it needs only the unconfirmed items.
      unconfirmed: the keys of these items.
      mark: of the server.
      marked_through: the newest record when the mark was read; every later one is needed.
    """

    capacity: int
    skip_through: int = 0
    sent_through: int = 0
    unconfirmed: Collection[int] = frozenset()
    mark: checkpoint_mark.Mark = _NO_MARK
    marked_through: int = 0

    def to_same_server(self, sent_through: int, unconfirmed: Mapping[int, int]) -> "ResendPlan":
        """The plan for another stream to the same incarnation of the server.

        Args:
          sent_through: the last record that any stream has sent to it.
          unconfirmed: the records of the unconfirmed items by their keys, the oldest first.
        """
        oldest = next(iter(unconfirmed.values()), sent_through + 1)
        return dataclasses.replace(
            self,
            skip_through=oldest - 1,
            sent_through=sent_through,
            unconfirmed=frozenset(unconfirmed),
        )

    def to_new_server(
        self, mark: checkpoint_mark.Mark, confirmed: int, last_seq: int
    ) -> "ResendPlan":
        """The plan for a server that this process has sent nothing to.

        Args:
          mark: of the server.
          confirmed: the record through which it has all.
          last_seq: number of the newest record.
        """
        return ResendPlan(self.capacity, confirmed, confirmed, mark=mark, marked_through=last_seq)

    def select(
        self, seq: int, record: Mapping[str, int], newest: Mapping[str, int], keys: Iterable[int]
    ) -> list[int]:
        """The indices of the items of a record that the server must be sent.

        Args:
          seq: number of the record.
          record: its counters.
          newest: those of the journal's newest record.
          keys: of its items.
        """
        if seq <= self.skip_through:
            return []
        if seq <= self.marked_through and not checkpoint_mark.is_needed(
            record, newest, self.mark, self.capacity
        ):
            return []
        is_sent = seq <= self.sent_through
        return [i for i, key in enumerate(keys) if not is_sent or key in self.unconfirmed]


class Requests:
    """The requests that a stream lacks; each relies on the previous ones, but on no others.

    Attributes:
      lacks_chunks: at the end, whether later records refer to chunks that the stream was not sent.
    """

    def __init__(self, plan: ResendPlan, sent: int, newest: Mapping[str, int]):
        """Reads nothing yet.

        Args:
          plan: what the server needs.
          sent: the last record that the stream was sent.
          newest: counters of the journal's newest record.
        """
        self._plan = plan
        self._sent = sent
        self._newest = newest
        # Chunks of records that need not be sent, which later ones may refer to.
        self._chunks: dict[int, Any] = {}

    @property
    def lacks_chunks(self) -> bool:
        """Whether the stream was not sent all chunks that the next record may refer to."""
        return bool(self._chunks)

    def of(self, records: Iterable[tuple[int, journal_files.Record]]) -> Iterator[tuple[int, Any]]:
        """The requests [(number, InsertRequest)] of records; those without items need no sending.

        Args:
          records: all from the start of the segment with the first unsent one: those that need not
            be sent are read for their chunks.
        """
        for seq, record in records:
            request = messages.InsertRequest.FromString(record.content)
            keys = [item.key for item in request.items]
            places = []
            if seq > self._sent:
                places = self._plan.select(seq, record.counters, self._newest, keys)
            if places:
                _keep_items(request, places)
                self._add_chunks(request)
            else:
                self._note_chunks(request)
                del request.items[:]
            if seq > self._sent:
                yield seq, request

    def _add_chunks(self, request: Any) -> None:
        there = {chunk.key for chunk in request.chunks}
        request.chunks.extend(c for key, c in self._chunks.items() if key not in there)
        self._chunks = {}

    def _note_chunks(self, request: Any) -> None:
        self._chunks.update((chunk.key, chunk) for chunk in request.chunks)
        kept = set(request.keep)
        self._chunks = {key: chunk for key, chunk in self._chunks.items() if key in kept}


def _keep_items(request: Any, places: list[int]) -> None:
    for i in sorted(set(range(len(request.items))) - set(places), reverse=True):
        del request.items[i]

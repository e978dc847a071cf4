"""Writing: chunks sent once, items that refer to them, and proof that they arrived."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from replay.reverb.wire import codec, errors, insert_stream, messages, wire_client


class Chunk:
    """T steps of one column, encoded; made by `Writer.chunk`."""

    def __init__(self, message: Any, length: int):
        """Holds the Chunk message of `length` steps."""
        self.key: int = message.key
        self.message = message
        self.length = length
        self.released = False


class Slice(NamedTuple):
    """Steps [offset, offset + length) of a chunk."""

    chunk: Chunk
    offset: int
    length: int


class Column(NamedTuple):
    """One array of an item: slices of one dtype and shape, one after the other along time.

    Attributes:
      slices: one or more.
      squeeze: whether readers drop the time axis; the slices then have one step in total.
    """

    slices: Sequence[Slice]
    squeeze: bool = False


class NewItem(NamedTuple):
    """An item to insert into a table.

    Attributes:
      table: its name.
      columns: the item's arrays, in the order that readers get them.
      priority: finite and >= 0.
    """

    table: str
    columns: Sequence[Column]
    priority: float


class Keyed(NamedTuple):
    """An item with a key: what is needed to send it, now or again."""

    message: Any
    chunks: tuple[Chunk, ...]


class ChunkMaker:
    """Encodes chunks for later items."""

    def __init__(self):
        """Begins an episode."""
        self._episode = new_key()

    def chunk(self, array: np.ndarray) -> Chunk:
        """Encodes T steps of one column, [T, ...]; sent with the first item that refers to them.

        The server holds the chunk for later items until `release`.

        Raises:
          ValueError: there is no step, or Reverb has no such type.
        """
        return Chunk(codec.encode_chunk(new_key(), self._episode, array), len(array))

    def release(self, chunk: Chunk) -> None:
        """Says that no later item refers to the chunk (it would be sent again).

        Items that already refer to it keep it on the server until they are gone.
        """
        chunk.released = True


class Writer(ChunkMaker):
    """A stream of chunks and items to a server; for one thread.

    An item counts as written when the server has confirmed it (`flush`). Unconfirmed ones are kept,
    and `reconnect` sends them again under their keys; one that had arrived is not inserted twice,
    but gets its first priority again.
    """

    def __init__(self, client: wire_client.Client, max_pending: int = 32):
        """Opens the stream.

        Args:
          client: of the server.
          max_pending: items that may be unconfirmed; `insert` waits when there would be more.
        """
        if max_pending < 1:
            raise ValueError(f"max_pending = {max_pending}: expected an integer >= 1")
        super().__init__()
        self._max_pending = max_pending
        self._stream = insert_stream.InsertStream(client)
        self._on_server: dict[int, Chunk] = {}

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_pending(self) -> int:
        """Items that were inserted but not confirmed yet."""
        return self._stream.num_unconfirmed

    def arrays(self, table: str, arrays: Sequence[np.ndarray], priority: float) -> NewItem:
        """An item of arrays of any shape, each in a chunk that no other item shares."""
        chunks = [self.chunk(np.asarray(array)[np.newaxis]) for array in arrays]
        for chunk in chunks:
            self.release(chunk)
        columns = [Column([Slice(chunk, 0, 1)], squeeze=True) for chunk in chunks]
        return NewItem(table, columns, priority)

    def insert(self, items: Sequence[NewItem], timeout_s: float = 60.0) -> list[int]:
        """Sends items, in one message; waits for room among the unconfirmed ones.

        Args:
          items: at most `max_pending`.
          timeout_s: how long to wait, in seconds.

        Returns:
          Their keys: 64 random bits each.

        Raises:
          ValueError: an item can't be written; nothing was sent.
          errors.WireTimeoutError: there was no room in time; nothing was sent.
          errors.WireError: the stream is broken; see `reconnect`.
        """
        if len(items) > self._max_pending:
            raise ValueError(f"{len(items)} items at once: expected at most {self._max_pending}")
        if not items:
            return []
        new = [keyed(item) for item in items]
        room = self._max_pending - len(new)
        self._wait(room, timeout_s, f"inserting {len(new)} items")
        self._stream.expect({item.message.key: item for item in new})
        self._send(new)
        return [item.message.key for item in new]

    def flush(self, timeout_s: float = 60.0) -> None:
        """Waits until every item is confirmed.

        Raises:
          errors.WireTimeoutError: it takes longer than `timeout_s` seconds.
          errors.WireError: the stream is broken; see `reconnect`.
        """
        self._wait(0, timeout_s, "flushing")

    def reconnect(self, client: wire_client.Client) -> None:
        """Opens a new stream, to the same server or another, and sends what is unconfirmed."""
        self._stream.close()
        pending = self._stream.unconfirmed()
        self._stream = insert_stream.InsertStream(client)
        self._stream.adopt(pending)
        self._on_server = {}
        for item in pending.values():
            self._send([item])

    def close(self) -> None:
        """Ends the stream; items that are unconfirmed may or may not arrive."""
        self._stream.close()

    def _send(self, items: list[Keyed]) -> None:
        """Sends items with the chunks that this stream has not yet sent to the server."""
        message, self._on_server = request(items, self._on_server)
        self._stream.send(message)

    def _wait(self, num_pending: int, timeout_s: float, doing: str) -> None:
        """Waits until at most `num_pending` items are unconfirmed."""
        left = self._stream.wait(num_pending, timeout_s)
        if left > num_pending:
            raise errors.WireTimeoutError(
                f"{doing} at {self._stream.address}: {left} items unconfirmed after "
                f"{timeout_s:g} s: the rate limiter waits for samples, or the server does not "
                "answer"
            )


def request(items: Iterable[Keyed], held: Mapping[int, Chunk]) -> tuple[Any, dict[int, Chunk]]:
    """The InsertRequest of items, with the chunks that the server does not hold yet.

    Args:
      items: to send together.
      held: the chunks that the server holds for this stream, by key.

    Returns:
      The message, and the chunks that the server holds after it.
    """
    message = messages.InsertRequest()
    there = dict(held)
    for item in items:
        message.items.append(item.message)
        for chunk in item.chunks:
            if chunk.key not in there:
                message.chunks.append(chunk.message)
                there[chunk.key] = chunk
    # The server ends the stream unless it is told exactly which chunks to keep holding.
    kept = {key: chunk for key, chunk in there.items() if not chunk.released}
    message.keep.extend(kept)
    return message, kept


def new_key() -> int:
    """64 random bits: of a chunk, an item or an episode."""
    return secrets.randbits(64)


def keyed(item: NewItem) -> Keyed:
    """Checks an item and gives it a key.

    Raises:
      ValueError: it can't be written.
    """
    if not item.table or not item.columns:
        raise ValueError(f"item of {len(item.columns)} columns for {item.table!r}: expected both")
    priority = wire_client.check_priority(item.priority)
    message = messages.Item(key=new_key(), table=item.table, priority=priority)
    for column in item.columns:
        message.trajectory.columns.append(_column(column))
    chunks = {part.chunk.key: part.chunk for column in item.columns for part in column.slices}
    return Keyed(message, tuple(chunks.values()))


def _column(column: Column) -> Any:
    total = sum(part.length for part in column.slices)
    if total < 1 or (column.squeeze and total != 1):
        raise ValueError(f"column of {total} steps: expected {'' if column.squeeze else '>= '}1")
    message = messages.Column(squeeze=column.squeeze)
    for chunk, offset, length in column.slices:
        if offset < 0 or length < 1 or offset + length > chunk.length:
            raise ValueError(
                f"slice [{offset}, {offset + length}) of a chunk with {chunk.length} steps: "
                "expected one or more of them"
            )
        message.slices.add(chunk_key=chunk.key, offset=offset, length=length)
    return message

"""Which records of the actors' journals a replay server holds, as reported by the server itself.

Before each checkpoint the learner writes a mark into a small table, which the checkpoint includes:
so a restored server says what it must not be sent again, whoever else was killed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from replay.reverb import tables, wire

_TIMEOUT_S = 10.0
_NOTHING: Mapping[int, int] = MappingProxyType({})


class Mark(NamedTuple):
    """What a server holds.

    Attributes:
      first_task: the replay was cleared when this task began: transitions of earlier ones must not
        enter it.
      is_saved: whether there was a checkpoint since then.
      confirmed: by journal id, the record through which it holds all records, or has evicted their
        transitions for newer ones.
    """

    first_task: int = 0
    is_saved: bool = True
    confirmed: Mapping[int, int] = _NOTHING


def write(client: wire.Client, mark: Mark) -> None:
    """Replaces the server's mark. Raises WireError."""
    rows = [[mark.first_task, mark.is_saved], *map(list, mark.confirmed.items())]
    with wire.Writer(client) as writer:
        writer.insert([writer.arrays(tables.MARK, [np.array(rows, np.int64)], 1.0)], _TIMEOUT_S)
        writer.flush(_TIMEOUT_S)


def read(client: wire.Client) -> Mark:
    """The server's mark; if it has none, that of an empty server. Raises WireError."""
    table = client.server_info(_TIMEOUT_S).get(tables.MARK)
    if table is None or not table.size:
        return Mark()
    # A new sampler: one that was kept open would have prefetched an outdated mark.
    with wire.Sampler(client, tables.MARK, max_in_flight=1) as sampler:
        (sampled,) = sampler.take(1, _TIMEOUT_S, ask_more=False)
    (rows,) = sampled.columns
    if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
        raise wire.WireError(f"mark is {rows.dtype}{list(rows.shape)}: expected int64[1 + L, 2]")
    if rows.min() < 0:
        raise wire.WireError(f"mark with {rows.min()}: expected whole numbers >= 0")
    (first_task, is_saved), *confirmed = rows.tolist()
    return Mark(first_task, bool(is_saved), dict(confirmed))


def is_needed(
    record: Mapping[str, int], newest: Mapping[str, int], mark: Mark, capacity: int
) -> bool:
    """Whether a record after the mark must be sent to a restored server.

    Not if the replay was cleared since, nor if the journal's own later transitions fill it: what is
    sent is never older than what the table would hold.

    Args:
      record: the record's counters: "task", in which its transitions were played, and
        "transitions", how many the journal had including it.
      newest: those of the journal's newest record.
      mark: of the server.
      capacity: transitions that its table holds.
    """
    is_of_cleared_task = record.get("task", 0) < mark.first_task
    num_later = newest.get("transitions", 0) - record.get("transitions", 0)
    return not is_of_cleared_task and num_later < capacity

"""Messages of a sample stream, as a replay server sends them."""

import itertools

import numpy as np

from replay.reverb.wire import codec, messages

_CHUNK_KEYS = itertools.count(1)


def make_response(key, columns, probability=0.25, table_size=9, priority=1.5):
    """A SampleResponse of one item.

    Args:
      key: of the item.
      columns: (parts, squeeze) of each; a part is an array [T, ...] that has a chunk for itself, or
        such an array with the slice of it that is the item's.
      probability: with which it was drawn.
      table_size: items that the table had.
      priority: of the item.
    """
    response = messages.SampleResponse()
    entry = response.entries.add(end_of_sequence=True)
    item = entry.info.item
    item.key, item.priority = key, priority
    entry.info.probability, entry.info.table_size = probability, table_size
    for parts, squeeze in columns:
        column = item.trajectory.columns.add(squeeze=squeeze)
        for part in parts:
            array, begin, length = part if isinstance(part, tuple) else (part, 0, len(part))
            chunk = codec.encode_chunk(next(_CHUNK_KEYS), 1, np.asarray(array))
            entry.data.append(chunk)
            column.slices.add(chunk_key=chunk.key, offset=begin, length=length)
    return response

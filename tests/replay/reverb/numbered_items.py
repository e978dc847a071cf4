"""Items that tell which they are: written with a journal, found in a table, each once.

As a program, an actor to be killed:
.venv/bin/python tests/replay/reverb/numbered_items.py JOURNAL ADDRESS_FILE TABLE END
"""

import functools
import sys
import time
from pathlib import Path

import numpy as np

from replay.reverb import connection, wire
from replay.reverb.writing.actor_journal import Journal
from replay.reverb.writing.journaled_writer import JournaledWriter

PER_RECORD = 4
WINDOW = 5


def frames(begin, end):
    """Frames [T, 2] of steps, each with the number of its step."""
    return np.stack([np.arange(begin, end) // 256, np.arange(begin, end) % 256], 1).astype(np.uint8)


def open_writer(journal, address_file, stop=None, capacity=10**9, **settings):
    end = time.monotonic() + 600
    connect = functools.partial(connect_to, address_file)
    stop = stop or (lambda: time.monotonic() > end)
    return JournaledWriter(journal, connect, stop, "actor_2", capacity, **settings)


def connect_to(address_file, stop):
    return connection.connect(address_file, stop, "actor_2")


def produce(writer, table, begin, end, task=0):
    """Inserts items of numbers [begin, end), each with its last frames; chunks are shared."""
    chunks = []
    for first in range(begin, end, PER_RECORD):
        chunks = [*chunks[-1:], (first, writer.chunk(frames(first, first + PER_RECORD)))]
        items = [item(writer, table, i, chunks) for i in range(first, first + PER_RECORD)]
        if len(chunks) > 1:
            writer.release(chunks[0][1])
        count = first + PER_RECORD
        writer.insert(items, {"items": count, "transitions": count, "task": task})


def item(writer, table, number, chunks):
    slices = []
    for first, chunk in chunks:
        low, high = max(number - WINDOW + 1, first), min(number + 1, first + PER_RECORD)
        if low < high:
            slices.append(wire.Slice(chunk, low - first, high - low))
    own = writer.chunk(np.array([number], np.int32))
    writer.release(own)
    columns = [wire.Column(slices), wire.Column([wire.Slice(own, 0, 1)], squeeze=True)]
    return wire.NewItem(table, columns, 1.0)


def find(address, table):
    """The table's items: priority by number. Every one was inserted once and is what it was."""
    with wire.Client(address) as client:
        info = client.server_info()[table]
        keys, priorities = {}, {}
        with wire.Sampler(client, table, max_in_flight=512) as sampler:
            deadline = time.monotonic() + 600
            while len(keys) < info.size and time.monotonic() < deadline:
                for drawn in sampler.take(256, timeout_s=600):
                    number = check(drawn.columns)
                    keys[drawn.key] = number
                    priorities[number] = drawn.priority
    assert len(keys) == len(priorities) == info.size == info.num_inserts
    return priorities


def check(columns):
    """The number of an item with these columns."""
    shared, own = columns
    number = int(own)
    np.testing.assert_array_equal(shared, frames(number + 1 - len(shared), number + 1))
    return number


def main():
    directory, address_file, table, end = sys.argv[1:]
    journal = Journal(Path(directory), segment_bytes=4000)
    with journal, open_writer(journal, Path(address_file), max_pending=12) as writer:
        produce(writer, table, journal.counters.get("items", 0), int(end))
        writer.flush(600)


if __name__ == "__main__":
    main()

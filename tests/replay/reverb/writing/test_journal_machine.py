"""The real journal and writer against a server in memory, in any order, killed at any write."""

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from replay.reverb import checkpoint_mark, connection, wire
from replay.reverb.writing import actor_journal, journal_files
from replay.reverb.writing.journaled_writer import JournaledWriter
from tests.replay.reverb.writing import memory_server

CAPACITY = 7
MAX_PENDING = 4
SEGMENT_BYTES = 600


class KilledError(BaseException):
    """The process is no more."""


class JournaledInserts(stateful.RuleBasedStateMachine):
    """An actor that is killed and begins again, and what a server then has of its items."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(connection, "POLL_S", 0.001)
        self.patch.setattr(checkpoint_mark, "read", lambda client: client.server.mark)
        self.patch.setattr(journal_files, "write_all", self.write)
        self.root = Path(tempfile.mkdtemp())
        self.num_lives = 0
        self.bytes_left = None
        self.server = memory_server.MemoryServer(CAPACITY)
        self.records = []  # of each: the numbers of its items, and the task
        self.task = 0
        self.told = (0, 0)  # incarnation, and what it has confirmed, as the learner knows
        self.saved = 0
        self.begin()

    def teardown(self):
        self.end()
        self.patch.undo()
        shutil.rmtree(self.root)

    @property
    def directory(self):
        return self.root / str(self.num_lives)

    @property
    def stream(self):
        return self.writer._delivery._server.stream

    def begin(self):
        """A process that goes on with what is on the disk."""
        self.journal = actor_journal.Journal(self.directory, SEGMENT_BYTES)
        self.writer = JournaledWriter(
            self.journal,
            self.server.connect,
            self.stop,
            "actor",
            CAPACITY,
            MAX_PENDING,
            while_waiting=self.server.confirm,
        )
        self.chunks = []
        del self.records[self.journal.last_seq :]

    def stop(self):
        """Never; whoever waits, be it while a writer begins, is confirmed what it waits for."""
        self.server.confirm()
        return False

    def end(self):
        self.stream.close()
        self.journal.close()

    def write(self, descriptor, content, offset):
        """Writes to the journal; a process that is killed amid it leaves the beginning."""
        if self.bytes_left is None:
            os.pwrite(descriptor, content, offset)
            return
        part = content[: self.bytes_left]
        os.pwrite(descriptor, part, offset)
        self.bytes_left -= len(part)
        if len(part) < len(content):
            self.bytes_left = None
            shutil.copytree(self.directory, self.root / str(self.num_lives + 1))
            raise KilledError

    @stateful.rule(counts=st.lists(st.integers(0, MAX_PENDING), min_size=1, max_size=4))
    def plays(self, counts):
        for count in counts:
            self.inserts(count)

    def inserts(self, count):
        begin = sum(len(numbers) for numbers, _ in self.records)
        self.records.append((range(begin, begin + count), self.task))
        counters = {"transitions": begin + count, "task": self.task}
        self.writer.insert(self.items(begin, count), counters)

    def items(self, begin, count):
        """Items of some steps, each with the two before it as far as chunks have them."""
        if not count:
            return []
        self.chunks.append(
            (begin, self.writer.chunk(memory_server.number_array(begin, begin + count)))
        )
        items = []
        for number in range(begin, begin + count):
            slices = []
            for first, chunk in self.chunks:
                low, high = max(number - 2, first), min(number + 1, first + chunk.length)
                if low < high:
                    slices.append(wire.Slice(chunk, low - first, high - low))
            own = self.writer.chunk(memory_server.number_array(number, number + 1))
            self.writer.release(own)
            columns = [wire.Column(slices), wire.Column([wire.Slice(own, 0, 1)], squeeze=True)]
            items.append(wire.NewItem("items", columns, 1.0))
        while len(self.chunks) > 2:
            self.writer.release(self.chunks.pop(0)[1])
        return items

    @stateful.rule()
    def confirmations_are_late(self):
        self.server.confirms = False

    @stateful.rule(is_noticed=st.booleans())
    def the_network_is_cut(self, is_noticed):
        self.server.cut()
        if is_noticed:
            self.all_is_there()

    @stateful.rule(is_noticed=st.booleans())
    def the_server_is_killed(self, is_noticed):
        self.server.restart()
        if is_noticed:
            self.all_is_there()

    @stateful.rule()
    def the_learner_hears(self):
        progress = self.writer.progress()
        self.told = progress.incarnation, progress.confirmed_through

    @stateful.rule()
    def the_server_writes_a_checkpoint(self):
        incarnation, confirmed = self.told
        confirmed = confirmed if incarnation == self.server.number else 0
        by_journal = {self.journal.journal_id: confirmed}
        self.server.checkpoint(checkpoint_mark.Mark(self.task, True, by_journal))
        self.saved = confirmed

    @stateful.rule()
    def truncates(self):
        self.writer.truncate(self.saved)

    @stateful.rule()
    def goes_to_the_next_task(self):
        """What was played is confirmed, the replay is cleared, and saved, before it is begun."""
        self.all_is_there()
        self.task += 1
        self.server.clear(checkpoint_mark.Mark(self.task))
        self.saved = 0

    @stateful.rule()
    def is_killed(self):
        self.end()
        shutil.copytree(self.directory, self.root / str(self.num_lives + 1))
        self.num_lives += 1
        self.begin()

    @stateful.rule(count=st.integers(0, MAX_PENDING), num_bytes=st.integers(0, 400))
    def is_killed_amid_a_write(self, count, num_bytes):
        self.bytes_left = num_bytes
        try:
            self.inserts(count)
        except KilledError:
            self.end()
            self.num_lives += 1
            self.begin()
        finally:
            self.bytes_left = None

    @stateful.rule()
    def all_is_there(self):
        """A server that confirms has the newest that it holds, but for what was cleared."""
        self.writer.flush(600)
        # The stream may have been cut after its last confirmation.
        self.writer.insert([], self.journal.counters)
        self.records.append((range(0), self.task))
        while self.stream.error is not None or self.journal.incarnation != self.server.number:
            self.writer.serve()
        self.writer.flush(600)
        with self.server.lock:
            found = list(self.server.items.values())
        expected = [n for numbers, task in self.records for n in numbers if task == self.task]
        assert sorted(found) == expected[-CAPACITY:]


def test_a_process_that_was_killed_as_it_began_to_send_again_is_followed_by_one_that_knows():
    """It had noted the restored server, and would have left out the task that was cleared."""
    machine = JournaledInserts()
    machine.plays([2])
    machine.goes_to_the_next_task()
    machine.server.restart()
    machine.journal.set_incarnation(machine.server.number)
    machine.is_killed()
    machine.all_is_there()
    machine.teardown()


TestJournaledInserts = JournaledInserts.TestCase
TestJournaledInserts.settings = hypothesis.settings(
    max_examples=200, stateful_step_count=30, deadline=None, derandomize=True
)

"""What of a journal is sent to a server: by hand, without one."""

import numpy as np
import pytest

from replay.reverb import checkpoint_mark, wire
from replay.reverb.wire import messages, wire_writer
from replay.reverb.writing.journal_files import Record
from replay.reverb.writing.resend_plan import Requests, ResendPlan

CAPACITY = 4


def transitions(count, task=0):
    return {"transitions": count, "task": task}


class Recorded:
    """Records as a journal has them: each of one item that shares a chunk with the one before."""

    def __init__(self, count, tasks=None):
        tasks = tasks or [0] * count
        maker = wire_writer.ChunkMaker()
        held, chunks = {}, []
        self.records, self.keys, self.chunk_keys = [], [], []
        for seq in range(1, count + 1):
            chunks = [*chunks[-1:], maker.chunk(np.array([seq]))]
            slices = [wire.Slice(chunk, 0, 1) for chunk in chunks]
            item = wire_writer.keyed(wire.NewItem("items", [wire.Column(slices)], 1.0))
            if len(chunks) > 1:
                maker.release(chunks[0])
            request, held = wire_writer.request([item], held)
            counters = transitions(seq, tasks[seq - 1])
            self.records.append((seq, Record(counters, request.SerializeToString())))
            self.keys.append(item.message.key)
            self.chunk_keys.append(chunks[-1].key)

    def requests(self, plan, sent=None):
        """The requests with items, by number, and what was found out about the chunks."""
        newest = self.records[-1][1].counters
        found = Requests(plan, plan.skip_through if sent is None else sent, newest)
        sendable = {seq: request for seq, request in found.of(self.records) if request.items}
        return sendable, found.lacks_chunks


def check_chunks(requests):
    """A new stream has every chunk that the items refer to, and that it is told to keep."""
    there = set()
    for request in requests.values():
        there |= {chunk.key for chunk in request.chunks}
        for item in request.items:
            columns = item.trajectory.columns
            assert {s.chunk_key for column in columns for s in column.slices} <= there
        assert set(request.keep) <= there
        there = set(request.keep)


@pytest.mark.parametrize("confirmed", [0, 2, 5])
def test_an_empty_server_is_sent_what_it_would_hold_and_a_restored_one_what_it_lacks(confirmed):
    recorded = Recorded(6)
    plan = ResendPlan(CAPACITY).to_new_server(checkpoint_mark.Mark(), confirmed, last_seq=6)
    requests, lacks_chunks = recorded.requests(plan)
    assert list(requests) == list(range(max(confirmed, 6 - CAPACITY) + 1, 7))
    check_chunks(requests)
    assert not lacks_chunks


def test_transitions_of_a_cleared_task_are_not_sent():
    recorded = Recorded(4, tasks=[0, 0, 1, 1])
    plan = ResendPlan(CAPACITY).to_new_server(checkpoint_mark.Mark(first_task=1), 0, last_seq=4)
    requests, _ = recorded.requests(plan)
    assert list(requests) == [3, 4]
    check_chunks(requests)


def test_what_is_written_after_the_mark_was_read_is_sent_whatever_it_says():
    """A record of the task that was cleared, and more of them than the table holds."""
    recorded = Recorded(7)
    plan = ResendPlan(CAPACITY).to_new_server(checkpoint_mark.Mark(first_task=1), 0, last_seq=1)
    assert list(recorded.requests(plan)[0]) == [2, 3, 4, 5, 6, 7]


def test_the_same_server_is_sent_what_is_unconfirmed_and_what_is_new():
    """Records 2 and 4 were sent and are unconfirmed, 3 was confirmed, 5 and 6 were not sent."""
    recorded = Recorded(6)
    unconfirmed = {recorded.keys[1]: 2, recorded.keys[3]: 4}
    plan = ResendPlan(CAPACITY).to_same_server(4, unconfirmed)
    assert plan.skip_through == 1
    requests, _ = recorded.requests(plan)
    assert list(requests) == [2, 4, 5, 6]
    check_chunks(requests)


def test_nothing_is_sent_again_when_all_is_confirmed():
    recorded = Recorded(3)
    plan = ResendPlan(CAPACITY).to_same_server(3, {})
    requests, lacks_chunks = recorded.requests(plan)
    assert requests == {}
    # The next record shares a chunk with the last one, which this stream has not got.
    assert lacks_chunks


def test_items_of_a_record_are_told_apart():
    plan = ResendPlan(CAPACITY).to_same_server(5, {71: 5})
    assert plan.select(5, transitions(9), transitions(9), [70, 71, 72]) == [1]
    assert plan.select(4, transitions(6), transitions(9), [60]) == []
    assert plan.select(6, transitions(9), transitions(9), [80, 81]) == [0, 1]


def test_a_server_is_still_not_sent_what_its_mark_left_out_when_the_stream_breaks():
    recorded = Recorded(6)
    plan = ResendPlan(CAPACITY).to_new_server(checkpoint_mark.Mark(), 0, last_seq=6)
    resumed = plan.to_same_server(3, {})
    assert list(recorded.requests(resumed)[0]) == [4, 5, 6]
    assert list(recorded.requests(plan, sent=1)[0]) == [3, 4, 5, 6]


def test_a_request_is_the_record_itself_for_a_stream_that_has_had_all_before():
    recorded = Recorded(2)
    requests, _ = recorded.requests(ResendPlan(CAPACITY))
    for (_, record), request in zip(recorded.records, requests.values()):
        assert messages.InsertRequest.FromString(record.content) == request

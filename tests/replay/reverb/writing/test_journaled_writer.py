"""Nothing that is in a journal is lost or doubled: killed servers and actors, cut networks."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import pytest

from benchmarks.tcp_proxy import TcpProxy
from replay.reverb import checkpoint_mark, connection, wire
from replay.reverb.wire import insert_stream
from replay.reverb.writing import server_connection
from replay.reverb.writing.actor_journal import Journal
from tests import waiting
from tests.replay.reverb import numbered_items, replay_server
from tests.replay.reverb.numbered_items import check, find, open_writer, produce
from tests.replay.reverb.writing.test_actor_journal import FullDisk

pytestmark = replay_server.needs_server

TABLES = (
    replay_server.prioritized("free", max_size=100_000),
    replay_server.prioritized("small", max_size=40),
    {"name": "mark", "kind": "latest"},
)
ROOT = Path(__file__).parents[4]
BACKGROUND = futures.ThreadPoolExecutor(1)


class Service:
    """A server that can be killed and comes back, elsewhere."""

    def __init__(self, directory):
        self.directory = directory
        self.address_file = directory / "address"
        self.start()

    def start(self):
        self.server = replay_server.Server(self.directory, TABLES)
        self.server.ready.unlink(missing_ok=True)
        self.server.wait_until_ready()
        connection.publish_address(self.address_file, self.server.address)

    def kill(self):
        self.server.end(signal.SIGKILL)

    def restart(self):
        self.kill()
        self.start()

    def checkpoint(self):
        with wire.Client(self.server.address) as client:
            client.checkpoint(600)

    @property
    def address(self):
        return self.server.address


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    running = Service(tmp_path_factory.mktemp("service"))
    yield running
    running.kill()


@pytest.fixture
def service(started):
    """It is empty, without checkpoints, and may be killed."""
    with wire.Client(started.address) as client:
        for table in TABLES:
            client.reset(table["name"])
    for path in (started.directory / "checkpoints").iterdir():
        shutil.rmtree(path)
    return started


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal", segment_bytes=4000) as opened:
        yield opened


@contextlib.contextmanager
def in_background(*actions):
    """Does things one after the other in a thread, which does not end: servers end with theirs."""
    done = BACKGROUND.submit(lambda: [action() for action in actions])
    yield done
    done.result()


def has_failed(background):
    return background.done() and background.exception() is not None


def wait(low, high):
    return lambda: time.sleep(random.uniform(low, high))


def is_confirmed(writer):
    deadline = time.monotonic() + 600
    while writer.num_pending and time.monotonic() < deadline:
        time.sleep(0.01)
    return not writer.num_pending


def test_items_go_through_the_journal_into_the_table(service, journal):
    with open_writer(journal, service.address_file) as writer:
        produce(writer, "free", 0, 400)
        writer.flush(600)
        assert writer.num_pending == 0
        assert writer.confirmed_through == journal.last_seq == 100
        progress = writer.progress()
        incarnation = ask_incarnation(service.address)
        counters = {"items": 400, "transitions": 400, "task": 0}
        assert progress == (journal.journal_id, incarnation, 100, 100, counters)
    assert journal.confirmed == 100
    assert find(service.address, "free") == dict.fromkeys(range(400), 1.0)
    assert len(list(journal.directory.glob("*.segment"))) > 5


def test_counters_alone_are_a_record(service, journal):
    with open_writer(journal, service.address_file) as writer:
        writer.insert([], {"items": 0, "frames": 8})
        produce(writer, "free", 0, 8)
        writer.insert([], {"items": 8, "frames": 16})
        writer.flush(600)
        assert writer.confirmed_through == journal.last_seq == 4
    assert journal.counters == {"items": 8, "frames": 16}
    assert find(service.address, "free").keys() == set(range(8))


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_a_server_is_killed_amid_inserts(service, journal, with_checkpoint, monkeypatch):
    largest = watch_pending(monkeypatch)
    with open_writer(journal, service.address_file, max_pending=12) as writer:
        produce(writer, "free", 0, 400)
        # The items that follow are on their way while it writes the checkpoint and dies.
        actions = [service.checkpoint] if with_checkpoint else []
        with in_background(*actions, wait(0.0, 0.1), service.restart) as background:
            produce_until(writer, 400, journal.incarnation, journal, background)
        end = journal.counters["items"]
        writer.flush(600)
        assert writer.confirmed_through == journal.last_seq == end // 4
    assert find(service.address, "free").keys() == set(range(end))
    assert max(largest) <= 12


def watch_pending(monkeypatch):
    """Where the numbers of unconfirmed items are collected."""
    found = [0]
    expect = insert_stream.InsertStream.expect

    def watched(stream, items):
        expect(stream, items)
        found.append(stream.num_unconfirmed)

    monkeypatch.setattr(insert_stream.InsertStream, "expect", watched)
    return found


def produce_until(writer, begin, incarnation, journal, background):
    """Inserts until the server is another one, and a little longer."""
    while journal.incarnation == incarnation and not has_failed(background):
        produce(writer, "free", begin, begin + 40)
        begin += 40
        time.sleep(0.01)
    produce(writer, "free", begin, begin + 40)


def test_what_a_checkpoint_has_is_dropped_and_not_sent_again(service, journal, caplog):
    with open_writer(journal, service.address_file) as writer:
        produce(writer, "free", 0, 404)
        writer.flush(600)
        produce(writer, "free", 404, 412)
        through = writer.progress().confirmed_through
        assert 101 <= through <= 103
        service.checkpoint()
        count = len(list(journal.directory.glob("*.segment")))
        writer.truncate(101)
        assert 0 < len(list(journal.directory.glob("*.segment"))) < count
        produce(writer, "free", 412, 800)
        writer.flush(600)
        incarnation = ask_incarnation(service.address)
        assert journal.incarnation == incarnation == ask_incarnation(service.address)
        service.restart()  # from the checkpoint
        produce(writer, "free", 800, 820)
        writer.flush(600)
        assert journal.incarnation == ask_incarnation(service.address) != incarnation
        expected = f"actor_2: replay server at {service.address}: sending records 102 to "
        assert expected in caplog.text
        assert find(service.address, "free").keys() == set(range(820))
        writer.truncate(10**9)  # more than is confirmed stays
        assert journal.truncated == writer.confirmed_through == 205
        assert list(journal.records(0)) == []
        produce(writer, "free", 820, 840)
        writer.flush(600)
    assert find(service.address, "free").keys() == set(range(840))


def ask_incarnation(address):
    with wire.Client(address) as client:
        incarnation = client.incarnation()
    assert 2**64 < incarnation < 2**128
    return incarnation


def test_priorities_stay_when_a_writer_begins_again_or_connects_again(service, journal, caplog):
    """Nothing that was confirmed is sent again to the same incarnation."""
    with TcpProxy(service.address) as proxy:
        proxied = service.directory / "proxied"
        connection.publish_address(proxied, proxy.address)
        with open_writer(journal, proxied) as writer:
            produce(writer, "free", 0, 80)
            writer.flush(600)
            set_priorities(service.address, 5.0)
            proxy.drop()
            proxy.restore()
            produce(writer, "free", 80, 88)
            writer.flush(600)
        caplog.clear()
        with open_writer(journal, proxied) as writer:
            assert is_confirmed(writer)
            produce(writer, "free", 88, 92)
            writer.flush(600)
    assert "again" not in caplog.text
    priorities = dict.fromkeys(range(80), 5.0) | dict.fromkeys(range(80, 92), 1.0)
    assert find(service.address, "free") == priorities


def set_priorities(address, priority):
    with wire.Client(address) as client:
        with wire.Sampler(client, "free", max_in_flight=500) as sampler:
            keys = {drawn.key for _ in range(4) for drawn in sampler.take(500)}
        client.update_priorities("free", keys, [priority] * len(keys))


@pytest.mark.parametrize(("cut", "seconds"), [("drop", 0.7), ("freeze", 2.3)])
def test_the_network_is_cut_amid_inserts(service, journal, cut, seconds, monkeypatch, caplog):
    monkeypatch.setattr(server_connection, "_PROBE_EVERY_S", 0.3)
    monkeypatch.setattr(server_connection, "_PROBE_TIMEOUT_S", 0.5)
    with TcpProxy(service.address) as proxy:
        proxied = service.directory / "proxied"
        connection.publish_address(proxied, proxy.address)
        actions = []
        for _ in range(3):
            actions += [lambda: wait_for_growth(service.address), wait(0.0, 0.2)]
            actions += [getattr(proxy, cut), wait(seconds, seconds), proxy.restore]
        with open_writer(journal, proxied, max_pending=12, silence_s=1.0) as writer:
            done = threading.Event()
            begin = 0
            with in_background(*actions, done.set) as background:
                while not done.is_set() and not has_failed(background):
                    produce(writer, "free", begin, begin + 40)
                    begin += 40
                    time.sleep(0.01)
            produce(writer, "free", begin, begin + 40)
            writer.flush(600)
    assert caplog.text.count("connecting again") >= 3
    assert find(service.address, "free").keys() == set(range(begin + 40))


def start_actor(directory, service, end):
    arguments = [directory / "journal", service.address_file, "free", str(end)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, numbered_items.__file__, *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def test_an_actor_is_killed_amid_inserts(service, tmp_path):
    random.seed(3)
    for _ in range(4):
        actor = start_actor(tmp_path, service, 10**6)
        wait_for_growth(service.address)
        time.sleep(random.uniform(0.0, 0.1))
        actor.kill()
        actor.wait()
    with Journal(tmp_path / "journal") as journal:
        end = journal.counters["items"] + 40
    assert start_actor(tmp_path, service, end).wait(600) == 0
    assert find(service.address, "free").keys() == set(range(end))


def wait_for_growth(address):
    """Until something was inserted."""
    with wire.Client(address) as client:
        before = client.server_info()["free"].num_inserts
        deadline = time.monotonic() + 600
        while client.server_info()["free"].num_inserts == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_server_and_actor_are_killed_at_any_moment(service, tmp_path):
    random.seed(4)
    for i in range(3):
        actor = start_actor(tmp_path, service, 10**6)
        wait_for_growth(service.address)
        with contextlib.suppress(wire.WireError):
            if i % 2:
                service.checkpoint()
        victims = [actor.kill, service.kill]
        random.shuffle(victims)
        for kill in victims:
            kill()
            time.sleep(random.uniform(0.0, 0.05))
        actor.wait()
        service.start()
    with Journal(tmp_path / "journal") as journal:
        end = journal.counters["items"] + 40
    assert start_actor(tmp_path, service, end).wait(600) == 0
    assert find(service.address, "free").keys() == set(range(end))


def test_an_insert_that_nobody_confirms_ends_when_told(service, journal):
    stop = threading.Event()
    waited = 0

    def count():
        nonlocal waited
        waited += 1
        if waited == 3:
            stop.set()

    with open_writer(
        journal,
        service.address_file,
        stop.is_set,
        max_pending=4,
        while_waiting=count,
    ) as writer:
        produce(writer, "free", 0, 8)
        writer.flush(600)
        waiting.suspend(service.server.process)
        with pytest.raises(connection.Stopped, match="actor_2: asked to end"):
            produce(writer, "free", 8, 80)
        with pytest.raises(
            wire.WireTimeoutError, match=r"actor_2: \d records unconfirmed after 0.3"
        ):
            writer.flush(0.3)
        service.server.process.send(signal.SIGCONT)
        writer.flush(600)
    assert find(service.address, "free").keys() == set(range(journal.counters["items"]))


def test_a_restored_server_is_not_sent_what_its_mark_says_it_has(service, journal):
    """Its table is full: what it has dropped would come into it anew, in place of newer items."""
    with open_writer(journal, service.address_file, capacity=40) as writer:
        produce(writer, "small", 0, 80)
        writer.flush(600)
        through = writer.progress().confirmed_through
        with wire.Client(service.address) as client:
            checkpoint_mark.write(
                client, checkpoint_mark.Mark(0, True, {journal.journal_id: through})
            )
        service.checkpoint()
        produce(writer, "small", 80, 100)
        writer.flush(600)
        service.restart()
        produce(writer, "small", 100, 104)
        writer.flush(600)
    with wire.Client(service.address) as client:
        table = client.server_info()["small"]
    assert (table.size, table.num_inserts) == (40, 80 + 24)
    assert numbers(service.address, "small") == set(range(64, 104))


@pytest.mark.parametrize(("first_task", "expected"), [(0, range(80, 120)), (1, range(100, 120))])
def test_an_empty_server_is_sent_what_it_would_hold(service, journal, first_task, expected):
    """Of 120 items the newest 40, or those of them that came after the replay was cleared."""
    with open_writer(journal, service.address_file, capacity=40) as writer:
        produce(writer, "small", 0, 100)
        produce(writer, "small", 100, 120, task=1)
        writer.flush(600)
        service.restart()
        with wire.Client(service.address) as client:
            checkpoint_mark.write(client, checkpoint_mark.Mark(first_task, True))
        writer.serve()
        writer.flush(600)
    with wire.Client(service.address) as client:
        assert client.server_info()["small"].num_inserts == len(expected)
    assert numbers(service.address, "small") == set(expected)


def numbers(address, table):
    """Which items are there, drawn until no other has come for long."""
    with wire.Client(address) as client, wire.Sampler(client, table, 512) as sampler:
        return {check(drawn.columns) for _ in range(8) for drawn in sampler.take(256, 10)}


def test_an_insert_waits_for_room_on_the_disk(service, journal, monkeypatch, caplog):
    disk = FullDisk(monkeypatch, 6000)
    stop = threading.Event()

    def make_room():
        if writer.confirmed_through >= 8:
            writer.truncate(8)
            disk.room = 10**6

    with open_writer(journal, service.address_file, stop.is_set, while_waiting=make_room) as writer:
        produce(writer, "free", 0, 200)
        writer.flush(600)
        assert journal.truncated == 8
        disk.room = 100
        monkeypatch.setattr(writer._pauses, "while_waiting", lambda: None)
        threading.Timer(0.7, stop.set).start()
        with pytest.raises(connection.Stopped):
            produce(writer, "free", 200, 400)
        assert "no room for the journal in" in caplog.text
        end = journal.counters["items"]
        disk.room = 10**6
        writer.flush(600)
    assert find(service.address, "free").keys() == set(range(end))


def test_what_the_server_refuses_is_raised(service, journal):
    with open_writer(journal, service.address_file) as writer:
        produce(writer, "free", 0, 40)
        writer.flush(600)
        with pytest.raises(wire.WireError, match="NOT_FOUND"):
            write_all(writer, "nope", 40, 80)
    with pytest.raises(wire.WireError, match="NOT_FOUND"):
        open_writer(journal, service.address_file).flush(600)


def write_all(writer, table, begin, end):
    produce(writer, table, begin, end)
    writer.flush(600)


def test_what_cant_be_written_is_not_in_the_journal(service, journal):
    with open_writer(journal, service.address_file, max_pending=2) as writer:
        with pytest.raises(ValueError, match="4 items at once: expected at most 2"):
            produce(writer, "free", 0, 4)
        with pytest.raises(ValueError, match="item of 0 columns"):
            writer.insert([wire.NewItem("free", [], 1.0)], {})
    assert journal.last_seq == 0

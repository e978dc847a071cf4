"""Where the server is, and waiting for it."""

import threading
import time

import pytest

from benchmarks.tcp_proxy import TcpProxy
from replay.reverb import connection, wire
from tests.replay.reverb.replay_server import needs_server


class Flag:
    """What stops after some seconds, and counts how often it is asked."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
        self.asked = [time.monotonic()]

    def __call__(self):
        self.asked.append(time.monotonic())
        return time.monotonic() > self.end

    def check(self):
        # Much sooner than any of the timeouts.
        assert self.asked[-1] < self.end + 5
        assert max(b - a for a, b in zip(self.asked, self.asked[1:])) < 5


def test_the_address_is_read_as_it_was_published(tmp_path):
    path = tmp_path / "replay" / "address"
    assert connection.read_address(path) is None
    for address in ("node7:4000", "127.0.0.1:1"):
        connection.publish_address(path, address)
        assert connection.read_address(path) == (address, "")
        assert path.read_text() == f"{address}\n"
    connection.publish_address(path, "[::1]:5", incarnation=10)
    assert connection.read_address(path) == ("[::1]:5", "0" * 31 + "a")
    assert list(path.parent.iterdir()) == [path]
    path.write_text("\n")
    assert connection.read_address(path) is None


def test_waiting_ends_when_told_and_names_its_cause(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(connection.Patience.__init__, "__defaults__", (0.4,))
    path = tmp_path / "address"
    stop = Flag(1.2)
    with pytest.raises(connection.Stopped, match="actor_2: asked to end"):
        connection.connect(path, stop, "actor_2")
    stop.check()
    assert f"actor_2: no address in {path} yet for " in caplog.text
    path.mkdir()
    with pytest.raises(connection.Stopped):
        connection.connect(path, Flag(0.9), "actor_2")
    assert f"actor_2: {path} not readable (" in caplog.text
    path.rmdir()
    monkeypatch.setattr(connection, "_ATTEMPT_S", 0.5)
    connection.publish_address(path, "127.0.0.1:1")
    stop = Flag(1.5)
    with pytest.raises(connection.Stopped):
        connection.connect(path, stop, "actor_2")
    stop.check()
    assert "actor_2: replay server at 127.0.0.1:1 not reachable for " in caplog.text


@needs_server
def test_a_server_that_moved_is_found(tmp_path, server):
    path = tmp_path / "address"
    connection.publish_address(path, "127.0.0.1:1")
    begin = time.monotonic()
    threading.Timer(0.7, connection.publish_address, (path, server.address)).start()
    with connection.connect(path, Flag(600), "actor_2") as client:
        assert client.address == server.address
    assert time.monotonic() - begin > 0.6


@needs_server
def test_another_server_at_the_same_address_is_not_taken_for_it(tmp_path, server):
    """As where a run was moved, and another one has its node and port."""
    path = tmp_path / "address"
    with wire.Client(server.address) as client:
        incarnation = client.incarnation(600)
    connection.publish_address(path, server.address, incarnation + 1)
    with pytest.raises(connection.Stopped):
        connection.connect(path, Flag(2), "actor_2")
    threading.Timer(0.7, connection.publish_address, (path, server.address, incarnation)).start()
    with connection.connect(path, Flag(600), "actor_2") as client:
        assert client.incarnation(600) == incarnation


@needs_server
def test_a_server_is_ready_when_it_answers(tmp_path, server):
    """Not when something accepts connections for it."""
    path = tmp_path / "address"
    with TcpProxy(server.address) as proxy:
        connection.publish_address(path, proxy.address)
        proxy.freeze()
        with pytest.raises(connection.Stopped):
            connection.connect(path, Flag(1), "actor_2")
        begin = time.monotonic()
        threading.Timer(0.7, proxy.restore).start()
        with connection.connect(path, Flag(600), "actor_2") as client:
            assert len(client.server_info()) > 1
        assert time.monotonic() - begin > 0.6

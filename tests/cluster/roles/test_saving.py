"""Snapshots and checkpoints that fail, and go on."""

import threading

import numpy as np
import pytest

from cluster.accounts import actor_accounts
from cluster.learning import saving
from cluster.messages import messages
from replay.reverb import checkpoint_mark, wire
from tests import waiting
from training.checkpoints import snapshot


@pytest.fixture(autouse=True)
def marks(monkeypatch):
    monkeypatch.setattr(checkpoint_mark, "write", lambda client, mark: client.set_mark(mark))


class Client:
    """A server's that writes a checkpoint when it is let."""

    def __init__(self):
        self.mark = self.written = None
        self.let = threading.Event()
        self.started = 0
        self.error = None
        self.number = 5

    def checkpoint(self, timeout_s):
        self.started += 1
        self.written = self.mark
        assert self.let.wait(timeout_s)
        if self.error is not None:
            raise self.error
        return "path"

    def incarnation(self):
        return self.number

    def set_mark(self, mark):
        self.mark = mark


class ReplayReader:
    is_open, incarnation = True, 5

    def __init__(self, client):
        self.client = client
        self.mark = checkpoint_mark.Mark()

    def set_mark(self, mark):
        self.mark = mark


class Setting:
    def __init__(self, directory):
        self.client = Client()
        self.reader = ReplayReader(self.client)
        self.accounts = actor_accounts.ActorAccounts()
        self.store = snapshot.SnapshotStore(directory / "snapshots", keep=2)
        self.counters = {"frames": 100}
        self.saver = saving.Saver(self.store, self.reader, self.accounts, self._contents, 100)
        self.report(confirmed=3)

    def _contents(self, earlier):
        del earlier
        return snapshot.Contents(dict(self.counters), {"learner": {"x": np.ones(2)}})

    def report(self, confirmed, transitions=10):
        report = messages.Report(7, 0, 40, transitions, 0, confirmed, 5, 0, [])
        self.accounts.apply(report)

    def finish_checkpoint(self):
        self.client.let.set()
        self.saver.wait_for_checkpoint(10)


def test_what_was_confirmed_before_a_checkpoint_began_may_be_forgotten(tmp_path):
    setting = Setting(tmp_path)
    setting.saver.save(setting.counters)
    setting.report(confirmed=9)
    assert setting.saver.confirmed == {}
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {7: 3}
    assert setting.client.written == checkpoint_mark.Mark(0, True, {7: 3})


def test_a_checkpoint_comes_when_much_is_new(tmp_path):
    setting = Setting(tmp_path)
    setting.report(confirmed=9, transitions=99)
    setting.saver.tend()
    assert not setting.saver.is_checkpointing
    setting.report(confirmed=9, transitions=100)
    setting.saver.tend()
    assert setting.saver.is_checkpointing
    setting.finish_checkpoint()
    setting.saver.tend()
    assert setting.client.started == 1


def test_what_was_cleared_is_safe_with_the_next_checkpoint(tmp_path):
    setting = Setting(tmp_path)
    setting.reader.mark = checkpoint_mark.Mark(2, is_saved=False)
    setting.saver.want_checkpoint()
    setting.saver.tend()
    assert not setting.reader.mark.is_saved
    setting.finish_checkpoint()
    assert setting.reader.mark == checkpoint_mark.Mark(2, True, {7: 3})


def test_a_checkpoint_that_is_wanted_while_one_is_written_comes_after_it(tmp_path):
    setting = Setting(tmp_path)
    setting.saver.save(setting.counters)
    waiting.wait_for(lambda: setting.client.started == 1)
    setting.report(confirmed=9)
    setting.saver.save(setting.counters)
    assert setting.client.started == 1
    setting.finish_checkpoint()
    assert setting.client.started == 2
    assert setting.saver.confirmed == {7: 9}


def test_a_checkpoint_that_fails_confirms_nothing_and_the_next_one_does(tmp_path, monkeypatch):
    setting = Setting(tmp_path)
    setting.client.error = wire.WireError("no space left")
    setting.saver.save(setting.counters)
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {}
    setting.client.error = None
    setting.saver.save(setting.counters)
    assert not setting.saver.is_checkpointing  # it would fail at once, again and again
    now = saving.time.monotonic() + saving._RETRY_S
    monkeypatch.setattr(saving.time, "monotonic", lambda: now)
    setting.saver.tend()
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {7: 3}


def test_a_checkpoint_of_another_incarnation_confirms_nothing(tmp_path):
    """The server was restarted while it was asked: what it has is what the old one had saved."""
    setting = Setting(tmp_path)
    setting.client.number = 6
    setting.saver.save(setting.counters)
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {}


def test_a_snapshot_is_not_written_twice_at_one_moment(tmp_path):
    setting = Setting(tmp_path)
    setting.client.let.set()
    setting.saver.save(setting.counters)
    setting.saver.wait_for_snapshot()
    first = setting.store.saved()[0].stat().st_ino
    setting.saver.save(setting.counters)
    setting.saver.wait_for_snapshot()
    assert setting.store.saved()[0].stat().st_ino == first
    setting.counters["frames"] = 200
    setting.saver.save(setting.counters)
    setting.saver.wait_for_snapshot()
    assert [path.name for path in setting.store.saved()] == ["000000000200", "000000000100"]


def test_a_snapshot_that_fails_is_told_and_tried_again(tmp_path, caplog):
    setting = Setting(tmp_path)
    setting.client.let.set()
    (tmp_path / "snapshots").write_text("in the way")
    setting.saver.save(setting.counters)
    setting.saver.wait_for_snapshot()
    assert "the run goes on" in caplog.text
    (tmp_path / "snapshots").unlink()
    setting.saver.save(setting.counters)
    setting.saver.wait_for_snapshot()
    assert len(setting.store.saved()) == 1

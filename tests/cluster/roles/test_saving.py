"""Snapshots and checkpoints that fail, and go on."""

import copy
import shutil
import threading

import numpy as np
import pytest

from cluster.accounts import actor_accounts
from cluster.learning import saving
from cluster.messages import messages
from core import durable_files
from replay.reverb import checkpoint_mark, wire
from tests import waiting
from training.checkpoints import snapshot


@pytest.fixture(autouse=True)
def marks(monkeypatch):
    monkeypatch.setattr(checkpoint_mark, "write", lambda client, mark: client.set_mark(mark))


class Client:
    """A server's that writes a checkpoint when it is let, and deletes all older ones."""

    def __init__(self, root):
        self.root = root
        self.name = "2026-11-28T00"
        self.mark = self.written = None
        self.let = threading.Event()
        self.started = 0
        self.error = None
        self.number = 5

    def checkpoint(self, timeout_s):
        self.started += 1
        self.written = self.mark
        path = self.root / self.name
        path.mkdir()
        (path / "tables.tfrecord").write_text("half of it")
        assert self.let.wait(timeout_s)
        if self.error is not None:
            raise self.error
        (path / "DONE").touch()
        for other in sorted(self.root.iterdir())[:-1]:
            shutil.rmtree(other)
        self.name += "0"
        return f"/as/the/server/sees/it/{path.name}"

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
        self.root = directory / "checkpoints"
        self.root.mkdir()
        self.client = Client(self.root)
        self.reader = ReplayReader(self.client)
        self.accounts = actor_accounts.ActorAccounts()
        self.store = snapshot.SnapshotStore(directory / "snapshots", keep=2)
        self.counters = {"frames": 100}
        self.start()
        self.report(confirmed=3)

    def start(self):
        """A learner's part, with the accounts of its snapshot."""
        self.saver = saving.Saver(
            self.store, self.reader, self.accounts, self._contents, 100, self.root
        )

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
    assert not list(setting.root.iterdir())  # the rest of it would be in the way
    setting.client.error = None
    setting.saver.tend()
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


def test_a_learner_that_goes_on_begins_no_checkpoint_for_what_one_has_already(tmp_path):
    setting = Setting(tmp_path)
    setting.report(confirmed=9, transitions=500)
    setting.start()
    setting.report(confirmed=9, transitions=599)
    setting.saver.tend()
    assert not setting.saver.is_checkpointing
    setting.report(confirmed=9, transitions=600)
    setting.saver.tend()
    assert setting.saver.is_checkpointing
    setting.finish_checkpoint()


def _begin_one(root):
    """As the server does for a learner that was killed since."""
    path = root / "2026-11-27T23"
    path.mkdir()
    (path / "tables.tfrecord").write_text("half")
    return path


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1_000.0

    monkeypatch.setattr(saving.time, "monotonic", lambda: Clock.now)
    return Clock


def test_no_checkpoint_begins_before_that_of_an_earlier_learner_is_written(tmp_path, clock):
    setting = Setting(tmp_path)
    path = _begin_one(setting.root)
    setting.saver.save(setting.counters)
    for _ in range(9):
        clock.now += 200
        with (path / "tables.tfrecord").open("a") as file:
            file.write("more")
        assert not setting.saver.may_change_table
        setting.saver.tend()
        assert not setting.saver.is_checkpointing
    (path / "DONE").touch()
    assert setting.saver.may_change_table
    clock.now += 1
    setting.saver.tend()
    assert setting.saver.is_checkpointing
    setting.client.let.set()
    assert setting.saver.wait_for_checkpoint(10)


def test_a_checkpoint_that_nobody_writes_any_more_is_deleted(tmp_path, clock):
    setting = Setting(tmp_path)
    path = _begin_one(setting.root)
    setting.saver.save(setting.counters)
    assert path.exists()
    clock.now += 301
    setting.saver.tend()
    assert not path.exists()
    assert setting.saver.is_checkpointing
    setting.client.let.set()
    assert setting.saver.wait_for_checkpoint(10)


@pytest.mark.parametrize("error", [wire.WireUnavailableError("x"), wire.WireTimeoutError("x")])
def test_what_the_server_may_still_write_stays(tmp_path, error):
    setting = Setting(tmp_path)
    setting.client.error = error
    setting.saver.save(setting.counters)
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {}
    assert len(list(setting.root.iterdir())) == 1
    assert not setting.saver.may_change_table


def test_a_checkpoint_that_the_server_has_deleted_again_confirms_nothing(tmp_path, clock):
    """The clock was set back: of two, that with the older name is deleted, though it is new."""
    setting = Setting(tmp_path)
    earlier = setting.root / "2026-11-28T09"
    earlier.mkdir()
    (earlier / "DONE").touch()
    setting.saver.save(setting.counters)
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {}
    (left,) = setting.root.iterdir()
    assert left.name < setting.client.name
    clock.now += saving._RETRY_S
    setting.saver.tend()
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {7: 3}


def test_a_checkpoint_is_on_the_disk_before_journals_may_forget_what_it_has(tmp_path, monkeypatch):
    setting = Setting(tmp_path)
    flushed = []

    def flush(path):
        # A snapshot, which is written at the same time, is elsewhere.
        if path.is_relative_to(setting.root):
            assert setting.saver.confirmed == {}
            flushed.append(path.name)

    monkeypatch.setattr(durable_files, "flush", flush)
    setting.saver.want_checkpoint()
    setting.saver.tend()
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {7: 3}
    assert sorted(flushed[:2]) == ["DONE", "tables.tfrecord"]
    assert flushed[2:] == ["2026-11-28T00", "checkpoints"]


def test_a_checkpoint_that_can_not_be_flushed_confirms_nothing(tmp_path, monkeypatch):
    setting = Setting(tmp_path)

    def fail(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(durable_files, "flush", fail)
    setting.saver.want_checkpoint()
    setting.saver.tend()
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {}


def test_a_checkpoint_keeps_what_its_server_was_restored_with(tmp_path):
    """Journal 8 has not been heard of since, and 7 reports less than that at first."""
    setting = Setting(tmp_path)
    setting.reader.mark = checkpoint_mark.Mark(0, True, {7: 5, 8: 6})
    setting.saver.want_checkpoint()
    setting.saver.tend()
    setting.finish_checkpoint()
    assert setting.saver.confirmed == {7: 5, 8: 6}
    assert setting.client.written.confirmed == {7: 5, 8: 6}


def test_the_last_checkpoint_is_tried_again_unless_the_connection_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_RETRY_S", 0.01)
    setting = Setting(tmp_path)
    errors = [wire.WireError("no space"), wire.WireError("no space")]
    written = setting.client.checkpoint

    def checkpoint(timeout_s):
        if errors:
            raise errors.pop()
        return written(timeout_s)

    monkeypatch.setattr(setting.client, "checkpoint", checkpoint)
    setting.client.let.set()
    setting.saver.save(setting.counters)
    assert setting.saver.wait_for_checkpoint(600, tries_again=True)
    assert setting.saver.confirmed == {7: 3}
    errors += [wire.WireError("no space"), wire.WireUnavailableError("gone")]
    setting.saver.save(setting.counters)
    assert not setting.saver.wait_for_checkpoint(600, tries_again=True)
    assert len(errors) == 1
    setting.reader.client = copy.copy(setting.client)  # another connection
    assert setting.saver.wait_for_checkpoint(600, tries_again=True)


def test_a_snapshot_is_tried_again_until_it_is_written_or_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_RETRY_S", 0.0)
    setting = Setting(tmp_path)
    place = tmp_path / "snapshots"
    place.write_text("in the way")
    asked = []

    def give_up():
        asked.append(1)
        return len(asked) == 3

    assert not setting.saver.write_snapshot(setting.counters, give_up)
    assert len(asked) == 3

    def free():
        place.unlink()
        return False

    assert setting.saver.write_snapshot(setting.counters, free)
    assert len(setting.store.saved()) == 1

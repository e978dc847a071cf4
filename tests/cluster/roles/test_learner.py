"""The order in which the learner does things, with recorders in the place of its parts."""

import types
from unittest import mock

import pytest

from cluster.learning import task_change
from cluster.roles import learner
from replay.reverb import connection, wire
from training.system import exit_codes

_PARTS = ("reader", "weights", "log", "agent", "counts", "saver", "announcements", "accounts")


class Setting:
    """A learner whose parts only note what they are asked for."""

    def __init__(self, clears=True, is_finished=False):
        self.calls = mock.Mock()
        self.learner = learner.LearnerProcess.__new__(learner.LearnerProcess)
        for name in _PARTS:
            setattr(self.learner, f"_{name}", getattr(self.calls, name))
        self.learner._stop = lambda: False
        switch = types.SimpleNamespace(clear_replay=clears)
        self.learner._settings = types.SimpleNamespace(task_switch=switch)
        self.learner._change = task_change.TaskChange(lambda task: True, None, clears)
        self.learner._is_starved = False
        self.calls.counts.is_finished = is_finished
        self.calls.counts.counters = {"frames": 7, "first_task": 1}

    def order(self, *names):
        """Those of the named calls that were made, in their order."""
        made = [name for name, *_ in self.calls.mock_calls]
        return [name for name in made if name in names]


def test_a_task_begins_with_a_snapshot_that_has_nothing_of_the_one_before():
    setting = Setting()
    steps = ("reader.drain", "weights.reset", "agent.begin_task", "saver.write_snapshot")
    setting.learner._take_step(task_change.ChangeStep.BEGIN)
    assert setting.order(*steps) == list(steps)
    (_, gives_up), _ = setting.calls.saver.write_snapshot.call_args
    assert not gives_up()
    setting.learner._stop = lambda: True
    assert gives_up()


def test_a_task_whose_priorities_can_not_be_sent_has_not_begun():
    setting = Setting()
    setting.calls.reader.drain.side_effect = wire.WireUnavailableError("gone")
    with pytest.raises(wire.WireUnavailableError):
        setting.learner._take_step(task_change.ChangeStep.BEGIN)
    assert not setting.calls.agent.begin_task.called
    assert not setting.calls.counts.begin_task.called


def test_nothing_waits_for_a_snapshot_if_the_replay_is_kept():
    setting = Setting(clears=False)
    setting.learner._take_step(task_change.ChangeStep.BEGIN)
    assert not setting.calls.saver.write_snapshot.called
    assert not setting.calls.weights.reset.called


def test_the_replay_is_not_cleared_while_a_checkpoint_may_be_written():
    setting = Setting()
    setting.calls.saver.may_change_table = False
    setting.learner._take_step(task_change.ChangeStep.CLEAR)
    assert not setting.calls.reader.clear.called
    setting.calls.saver.may_change_table = True
    setting.learner._take_step(task_change.ChangeStep.CLEAR)
    setting.calls.reader.clear.assert_called_once_with(1)


def test_actors_are_waited_for_again_after_a_connection_was_lost():
    setting = Setting()
    setting.calls.reader.open.side_effect = [wire.WireTimeoutError("slow"), None]
    with mock.patch.object(learner, "_RETRY_S", 0):
        setting.learner._open_reader()
    assert setting.order("reader.open", "accounts.await_all") == [
        *["reader.open"] * 2,
        "accounts.await_all",
    ]


def test_all_parts_are_closed_whatever_one_does():
    setting = Setting()
    setting.calls.reader.close.side_effect = wire.WireError("x")
    with pytest.raises(wire.WireError):
        setting.learner.close()
    closes = ["log.close", "announcements.close", "reader.close", "saver.close"]
    assert setting.order(*closes) == closes


def _run(monkeypatch, setting):
    monkeypatch.setattr(learner, "LearnerProcess", lambda role, stop: setting.learner)
    setting.learner.learn = mock.Mock(side_effect=connection.Stopped("asked to"))
    return learner.run(mock.Mock())


def test_a_learner_that_is_stopped_while_the_server_fails_has_stopped(monkeypatch):
    setting = Setting()
    setting.calls.saver.tend.side_effect = wire.WireError("no room for a mark")
    setting.calls.saver.write_snapshot.return_value = True
    assert _run(monkeypatch, setting) == exit_codes.STOPPED
    assert setting.calls.saver.write_snapshot.called


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_last_snapshot_is_insisted_on_at_the_end_of_the_run(monkeypatch, capsys, is_finished):
    setting = Setting(is_finished=is_finished)
    now = 100.0
    monkeypatch.setattr(learner.time, "monotonic", lambda: now)
    asked = []

    def write_snapshot(counters, gives_up):
        nonlocal now
        while not gives_up():
            asked.append(now)
            now += 100
        return False

    setting.calls.saver.write_snapshot = write_snapshot
    exit_code = _run(monkeypatch, setting)
    error = capsys.readouterr().err
    if is_finished:
        assert len(asked) == 4
        assert exit_code == exit_codes.FAILED
        assert error == "error: all frames are played, but the last snapshot is not written\n"
    else:
        assert not asked
        assert (exit_code, error) == (exit_codes.STOPPED, "")
    # Else the others would take the run for finished.
    assert not setting.calls.announcements.publish.called


@pytest.mark.parametrize("is_told", [True, False])
def test_a_run_is_finished_when_its_last_parameters_are_published(monkeypatch, capsys, is_told):
    setting = Setting(is_finished=True)
    setting.calls.announcements.wait_until_told.return_value = is_told
    exit_code = _run(monkeypatch, setting)
    assert exit_code == (exit_codes.FINISHED if is_told else exit_codes.FAILED)
    assert ("the last parameters are not published" in capsys.readouterr().err) is not is_told
    assert setting.calls.announcements.publish.call_args.args[2] is True

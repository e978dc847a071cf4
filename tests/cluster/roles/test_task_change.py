"""From one task to the next, step by step, without processes."""

import pytest

from cluster.accounts import evaluator_account
from cluster.learning import task_change
from cluster.learning.task_change import ChangeStep, Facts, Phase
from cluster.messages import messages
from replay.reverb.checkpoint_mark import Mark

PLAYED = Facts(task=0, first_task=0, version=7, is_over=False, mark=Mark(), is_checkpointing=False)
OVER = PLAYED._replace(is_over=True)


class Setting:
    """A run whose clock and actors do as they are told."""

    def __init__(self, monkeypatch, clears=False, has_evaluator=True):
        self.now = 100.0
        monkeypatch.setattr(evaluator_account.time, "monotonic", lambda: self.now)
        self.left = -1  # the last task that all actors have left
        self.evaluator = evaluator_account.EvaluatorAccount()
        self.change = task_change.TaskChange(
            lambda task: task <= self.left, self.evaluator if has_evaluator else None, clears
        )

    def steps(self, facts, count=1):
        return [self.change.next_step(facts) for _ in range(count)]

    def report(self, version, frames=28):
        self.evaluator.apply(messages.EvaluatorReport(version, frames))


@pytest.fixture
def setting(monkeypatch):
    made = Setting(monkeypatch)
    assert made.change.phase is Phase.CLEARING
    assert made.steps(PLAYED) == [ChangeStep.GO_ON]
    assert made.change.phase is Phase.PLAYING
    return made


def test_a_task_is_left_when_the_evaluator_has_its_parameters_and_all_actors_have_gone(setting):
    setting.report(version=6)
    assert setting.steps(OVER, 3) == [ChangeStep.PUBLISH, ChangeStep.WAIT, ChangeStep.WAIT]
    assert setting.change.phase is Phase.LEAVING
    setting.left = 0
    assert setting.steps(OVER) == [ChangeStep.WAIT]
    setting.report(version=7)
    assert setting.steps(OVER) == [ChangeStep.BEGIN]
    assert setting.change.phase is Phase.PLAYING
    assert setting.steps(PLAYED._replace(task=1)) == [ChangeStep.GO_ON]


def test_actors_are_waited_for_though_the_evaluator_is_ready(setting):
    setting.report(version=7)
    assert setting.steps(OVER, 2) == [ChangeStep.PUBLISH, ChangeStep.WAIT]
    setting.left = 0
    assert setting.steps(OVER) == [ChangeStep.BEGIN]


def test_an_evaluator_that_is_silent_is_waited_for_ten_seconds(setting, caplog):
    setting.left = 0
    assert setting.steps(OVER, 2) == [ChangeStep.PUBLISH, ChangeStep.WAIT]
    setting.now += 9.0
    setting.report(version=6)
    setting.now += 9.0
    assert setting.steps(OVER) == [ChangeStep.WAIT]
    assert caplog.text == ""
    setting.now += 2.0
    assert setting.steps(OVER) == [ChangeStep.BEGIN]
    assert "may miss the parameters that a task ends with: not heard of" in caplog.text


def test_an_evaluator_that_was_silent_before_gets_ten_seconds_from_the_end_of_the_task(setting):
    setting.left = 0
    setting.report(version=1)
    setting.now += 500.0
    assert setting.steps(OVER, 2) == [ChangeStep.PUBLISH, ChangeStep.WAIT]


def test_an_evaluator_that_is_heard_of_and_fetches_nothing_is_not_waited_for_for_ever(
    setting, caplog
):
    setting.left = 0
    steps = setting.steps(OVER)
    while steps[-1] is not ChangeStep.BEGIN and setting.now < 1_000:
        setting.now += 1.0
        setting.report(version=6)
        steps += setting.steps(OVER)
    assert steps == [ChangeStep.PUBLISH, *[ChangeStep.WAIT] * 120, ChangeStep.BEGIN]
    assert caplog.text.count("has not fetched them") == 1


def test_without_an_evaluator_none_is_waited_for(monkeypatch):
    setting = Setting(monkeypatch, has_evaluator=False)
    setting.left = 0
    assert setting.steps(OVER, 2) == [ChangeStep.PUBLISH, ChangeStep.BEGIN]


def test_a_connection_that_breaks_while_a_task_is_left_changes_nothing(setting):
    """The parameters are published once, and the wait goes on."""
    setting.left = 0
    assert setting.steps(OVER, 2) == [ChangeStep.PUBLISH, ChangeStep.WAIT]
    setting.change.reset_replay()
    assert setting.change.phase is Phase.CLEARING
    assert setting.steps(OVER) == [ChangeStep.WAIT]
    assert setting.change.phase is Phase.LEAVING
    setting.report(version=7)
    assert setting.steps(OVER) == [ChangeStep.BEGIN]


def test_a_replay_is_cleared_and_saved_before_the_next_task_is_played(monkeypatch):
    setting = Setting(monkeypatch, clears=True, has_evaluator=False)
    setting.left = 0
    assert setting.steps(OVER, 2) == [ChangeStep.PUBLISH, ChangeStep.BEGIN]
    assert setting.change.phase is Phase.CLEARING
    begun = PLAYED._replace(task=1, first_task=1)
    assert setting.steps(begun._replace(is_checkpointing=True)) == [ChangeStep.WAIT]
    assert setting.steps(begun) == [ChangeStep.CLEAR]
    cleared = begun._replace(mark=Mark(1, is_saved=False))
    assert setting.steps(cleared) == [ChangeStep.SAVE]
    assert setting.steps(cleared._replace(is_checkpointing=True)) == [ChangeStep.WAIT]
    assert setting.change.phase is Phase.CLEARING
    assert setting.steps(begun._replace(mark=Mark(1, is_saved=True))) == [ChangeStep.GO_ON]
    assert setting.change.phase is Phase.PLAYING


def test_a_restored_replay_is_cleared_again_when_all_that_was_played_before_is_there(monkeypatch):
    setting = Setting(monkeypatch, clears=True)
    restored = PLAYED._replace(task=1, first_task=1, mark=Mark(0))
    assert setting.steps(restored) == [ChangeStep.WAIT]
    setting.left = 0
    assert setting.steps(restored) == [ChangeStep.CLEAR]

"""Updates that are due, by hand."""

import pytest

from configs import continual_rainbow, rainbow
from core import checks
from training import derived, run_settings
from training.learning import update_schedule

# An update every 16 frames; a replay is filled in 80.
ALONE = update_schedule.UpdateSchedule(16, 1_000, 0, 80)
SEQUENCE = update_schedule.UpdateSchedule(16, 800, 400, 80)


@pytest.mark.parametrize(
    ("frames", "due"), [(0, 0), (80, 0), (95, 0), (96, 1), (200, 7), (1_000, 57), (5_000, 57)]
)
def test_one_task_begins_late_and_ends_with_the_run(frames, due):
    assert ALONE.due(frames, 0, 80) == due


def test_each_task_has_its_updates_however_it_began():
    """25 in 400 frames, or in the 320 that are left when the replay is filled."""
    assert [SEQUENCE.due(frames, 0, 80) for frames in (80, 92, 93, 240, 400, 416)] == [
        *(0, 0, 1),
        160 * 25 // 320,
        *(25, 25),
    ]
    assert [SEQUENCE.due(frames, 1, 0) for frames in (400, 415, 416, 600, 800)] == [
        *(25, 25, 26),
        25 + 200 * 25 // 400,
        50,
    ]
    assert [SEQUENCE.due(frames, 1, 80) for frames in (400, 480, 800)] == [25, 25, 50]


@pytest.mark.parametrize(
    ("schedule", "task", "idle"), [(ALONE, 0, 80), (SEQUENCE, 0, 80), (SEQUENCE, 1, 96)]
)
def test_the_frames_of_an_update_are_the_first_that_make_it_due(schedule, task, idle):
    begin = task * schedule.frames_per_task
    for updates in range(schedule.due(begin, task, idle) + 1, schedule.due(10**9, task, idle) + 1):
        frames = schedule.frames_of(updates, task, idle)
        assert schedule.due(frames, task, idle) == updates
        assert schedule.due(frames - 1, task, idle) == updates - 1


def test_a_task_that_was_played_before_its_replay_was_filled_has_its_updates_all_the_same():
    assert SEQUENCE.due(799, 1, 500) == 25
    assert SEQUENCE.due(800, 1, 500) == 50


def test_offline_updates_are_due_before_anything_is_played():
    schedule = update_schedule.UpdateSchedule(16, 1_000, 0, 0, offline_updates=30)
    assert [schedule.due(frames, 0, 0) for frames in (0, 15, 16, 160)] == [30, 30, 31, 40]
    assert [schedule.frames_of(updates, 0, 0) for updates in (0, 30, 31, 40)] == [0, 0, 16, 160]


def _make(config):
    return update_schedule.UpdateSchedule.make(run_settings.parse(derived.resolve(config)))


def test_a_task_must_be_longer_than_its_replay_takes_to_fill():
    config = continual_rainbow.get_config("small")
    schedule = _make(config)
    assert (schedule.period_frames, schedule.fill_frames) == (8, 1_600)
    config.replay.min_size = 3_000
    with pytest.raises(checks.ConfigError, match=r"replay.min_size = 3000: expected less than"):
        _make(config)


def test_the_schedule_of_rainbow_is_dqn_zoos():
    """12.5M updates less those of the first 20k steps."""
    schedule = _make(rainbow.get_config())
    assert schedule.due(200_000_000, 0, schedule.fill_frames) == 12_500_000 - 5_000

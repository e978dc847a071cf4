"""What is due in a distributed run, and how far its actors may play, by hand."""

import pytest

from cluster.accounts import learner_counts
from cluster.messages import messages
from training.learning import task_switching, update_schedule

CLEAR = task_switching.SwitchSettings(clear_replay=True)


def make(num_frames=1_000, frames_per_task=0):
    """Learning begins at frame 80; an update every 16 frames; the credit is 100 frames."""
    schedule = update_schedule.UpdateSchedule(16, num_frames, frames_per_task, 80)
    return learner_counts.LearnerCounts(schedule, 4, 100)


def do_updates(counts):
    while counts.updates_behind:
        counts.count_updates()


def test_a_restored_learner_does_again_what_it_has_forgotten():
    counts = make()
    counts.counters |= {"frames": 200, "updates": 7}
    counts.report(600)
    assert (counts.updates_behind, counts.counters["frames"]) == (25, 200)


def test_actors_may_play_so_many_frames_beyond_those_that_are_learned():
    counts = make()
    allowed = []
    for played in (0, 80, 130):
        counts.report(played)
        allowed.append(counts.allowed_frames(is_starved=False))
    assert allowed == [100, 180, 180]
    do_updates(counts)
    assert counts.allowed_frames(is_starved=False) == 230
    counts.report(980)
    do_updates(counts)
    assert counts.allowed_frames(is_starved=False) == 1_000


def test_actors_go_on_while_there_is_too_little_to_draw_from():
    counts = make()
    counts.report(1_000)
    assert counts.allowed_frames(is_starved=True) == 1_100


def test_actors_go_to_the_next_task_when_this_one_is_over():
    counts = make(frames_per_task=400)
    counts.report(416)
    assert (counts.task_to_play, counts.is_task_over) == (0, False)
    assert counts.allowed_frames(is_starved=False) == 180
    do_updates(counts)
    assert counts.counters["updates"] == 25
    assert (counts.task_to_play, counts.is_task_over) == (1, True)
    assert counts.allowed_frames(is_starved=False) == 400
    assert not counts.is_finished


@pytest.mark.parametrize("switch", [task_switching.SwitchSettings(), CLEAR])
def test_updates_of_a_sequence_add_up(switch):
    """As many in each task; if the replay is cleared, later: in 80 frames and the overshoot."""
    counts = make(num_frames=800, frames_per_task=400)
    counts.report(416)
    do_updates(counts)
    counts.begin_task(switch)
    idle = 80 + 16 if switch.clear_replay else 0
    assert counts.counters["idle_frames"] == idle
    assert counts.counters["first_task"] == switch.clear_replay
    assert counts.updates_behind == (0 if switch.clear_replay else 1)
    counts.report(816)
    assert (counts.task_to_play, counts.is_finished) == (1, False)
    do_updates(counts)
    assert counts.is_finished
    assert counts.counters["updates"] == 50
    assert counts.counters["frames"] == 800


def test_schedules_begin_anew_where_asked_to():
    counts = make(frames_per_task=400)
    counts.report(400)
    do_updates(counts)
    assert int(counts.importance_steps) == 100
    counts.begin_task(task_switching.SwitchSettings(restart_schedule=True, restart_importance=True))
    assert int(counts.importance_steps) == 0
    counts.report(432)
    do_updates(counts)
    assert int(counts.importance_steps) == 8


def report(journal_id, actor, frames):
    return messages.Report(journal_id, actor, frames, 0, 0, 0, 0, 0, [])


def test_what_is_allowed_is_parted_among_actors_and_never_nothing():
    alive = [report(7, 0, 40), report(8, 1, 100)]
    assert learner_counts.frame_limits(alive, 140, 200) == {7: 70, 8: 130}
    assert learner_counts.frame_limits(alive, 140, 141) == {7: 41, 8: 101}
    assert learner_counts.frame_limits(alive, 140, 140) == {7: 40, 8: 100}
    assert learner_counts.frame_limits(alive, 140, 100) == {7: 40, 8: 100}
    assert learner_counts.frame_limits([], 140, 200) == {}


def test_the_journal_of_an_absent_actor_takes_no_share():
    alive = [report(7, 0, 40), report(8, 0, 100)]
    assert learner_counts.frame_limits(alive, 140, 200)[7] == 100

"""What is due in a distributed run, by hand."""

import pytest

from configs import rainbow
from training import task_switch
from training.roles import pace

CLEAR = task_switch.SwitchSettings(clear_replay=True)


def make(num_frames=1_000, frames_per_task=0, num_actors=1):
    """Learning begins at frame 80; an update every 16 frames; the buffer is 67 updates."""
    config = rainbow.get_config()
    config.num_frames = num_frames
    config.replay.min_size = 20
    config.distributed.max_unconfirmed = 256
    return pace.Pace(config, 4, frames_per_task, num_actors)


def do_updates(counts):
    while counts.updates_behind:
        counts.count_update()


def test_updates_are_due_as_in_one_process():
    counts = make()
    due = []
    for played in (0, 80, 95, 96, 200):
        counts.hear(played)
        due.append(counts.due_updates)
    assert due == [0, 0, 0, 1, 7]


def test_no_updates_are_due_for_frames_beyond_the_runs():
    counts = make()
    counts.hear(5_000)
    assert counts.due_updates == (1_000 - 80) // 16
    assert not counts.is_finished
    do_updates(counts)
    assert counts.is_finished
    assert counts.counters["updates"] == 57


def test_frames_are_those_that_the_updates_have_covered():
    counts = make()
    counts.hear(96)
    assert counts.counters["frames"] == 80
    counts.count_update()
    assert counts.counters["frames"] == 96
    counts.hear(200)
    counts.count_update()
    assert counts.counters["frames"] == 80 + 2 * 16
    do_updates(counts)
    assert counts.counters["frames"] == 200


def test_frames_never_go_back():
    """All updates of frame 111 are done; those of more frames are not."""
    counts = make()
    counts.hear(111)
    counts.count_update()
    assert counts.counters["frames"] == 111
    counts.hear(130)
    assert counts.counters["frames"] == 111
    counts.hear(100)
    assert counts.played == 130


def test_a_restored_learner_does_again_what_it_has_forgotten():
    counts = make()
    counts.counters |= {"frames": 200, "updates": 7}
    counts.hear(600)
    assert (counts.updates_behind, counts.counters["frames"]) == (25, 200)


def test_actors_are_held_when_the_run_is_played_or_too_much_is_due():
    """8 samples a transition, 256 in flight, five batches: 2208 samples, 69 updates."""
    counts = make(num_frames=2_000)
    counts.hear(80 + 16 * 69)
    assert not counts.is_far_behind
    counts.hear(80 + 16 * 70)
    assert counts.is_far_behind
    do_updates(counts)
    assert not counts.is_far_behind
    counts.hear(2_000)
    do_updates(counts)
    assert counts.is_far_behind


def test_actors_go_to_the_next_task_before_the_learner():
    counts = make(frames_per_task=400)
    counts.hear(416)
    assert (counts.task_to_play, counts.is_task_over) == (1, False)
    do_updates(counts)
    assert counts.counters["updates"] == (400 - 80) // 16
    assert (counts.task_to_play, counts.is_task_over) == (1, True)
    assert not counts.is_finished


@pytest.mark.parametrize("switch", [task_switch.SwitchSettings(), CLEAR])
def test_updates_of_a_sequence_add_up(switch):
    """If the replay is cleared, 80 frames and the overshoot of 16 count for no updates."""
    counts = make(num_frames=800, frames_per_task=400)
    counts.hear(416)
    do_updates(counts)
    counts.begin_task(switch)
    idle = 80 + (80 + 16 if switch.clear_replay else 0)
    assert counts.counters["idle_frames"] == idle
    assert counts.samples_used == (0 if switch.clear_replay else 20 * 32)
    counts.hear(816)
    assert (counts.task_to_play, counts.is_finished) == (1, False)
    do_updates(counts)
    assert counts.is_finished
    assert counts.counters["updates"] == (800 - idle) // 16


def test_schedules_begin_anew_where_asked_to():
    counts = make(frames_per_task=400)
    counts.hear(408)
    do_updates(counts)
    assert int(counts.importance_steps) == 102
    counts.begin_task(task_switch.SwitchSettings(restart_schedule=True, restart_importance=True))
    assert counts.counters["schedule_updates"] == 0
    assert int(counts.importance_steps) == 0
    counts.hear(440)
    do_updates(counts)
    assert counts.counters["schedule_updates"] == 2
    assert int(counts.importance_steps) == 8

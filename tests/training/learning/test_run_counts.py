"""What is done and due in a run of any mode, by hand."""

from training.learning import run_counts, task_switching, update_schedule


def make(num_frames=1_000, frames_per_task=0):
    """Learning begins at frame 80, with an update every 16 frames."""
    schedule = update_schedule.UpdateSchedule(16, num_frames, frames_per_task, 80)
    return run_counts.RunCounts(schedule)


def do_updates(counts):
    while counts.updates_behind:
        counts.count_updates()


def test_no_updates_are_due_for_frames_beyond_the_runs_and_none_is_told_of():
    counts = make()
    counts.report(5_000)
    assert not counts.is_finished
    do_updates(counts)
    assert counts.is_finished
    assert counts.counters["updates"] == (1_000 - 80) // 16
    assert counts.counters["frames"] == 1_000


def test_frames_are_those_that_the_updates_have_covered():
    counts = make()
    counts.report(96)
    assert counts.counters["frames"] == 80
    counts.count_updates()
    assert counts.counters["frames"] == 96
    counts.report(200)
    counts.count_updates()
    assert counts.counters["frames"] == 80 + 2 * 16
    do_updates(counts)
    assert counts.counters["frames"] == 200


def test_frames_never_go_back():
    """All updates of frame 111 are done; those of more frames are not."""
    counts = make()
    counts.report(111)
    counts.count_updates()
    assert counts.counters["frames"] == 111
    counts.report(130)
    assert counts.counters["frames"] == 111
    counts.report(100)
    assert counts.played == 130


def test_what_a_step_plays_beyond_a_tasks_end_counts_for_the_next_one():
    counts = make(num_frames=800, frames_per_task=400)
    counts.report(416)
    assert not counts.is_task_over
    counts.count_updates(counts.updates_behind)
    assert counts.is_task_over
    assert counts.counters["frames"] == 400
    counts.begin_task(task_switching.SwitchSettings(clear_replay=False))
    assert not counts.is_task_over
    assert counts.updates_behind == 1
    counts.count_updates()
    assert counts.counters["frames"] == 416


def test_a_cleared_replay_is_filled_anew_after_what_was_played_too_much():
    counts = make(num_frames=800, frames_per_task=400)
    counts.report(416)
    counts.count_updates(counts.updates_behind)
    counts.begin_task(task_switching.SwitchSettings(clear_replay=True))
    assert counts.counters["idle_frames"] == 80 + 16
    counts.report(400 + 96)
    assert counts.updates_behind == 0
    assert counts.counters["frames"] == 400 + 96

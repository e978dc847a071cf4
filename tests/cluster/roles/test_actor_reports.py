"""What the learner is told of an actor."""

from cluster.messages import messages
from cluster.roles import actor_reports
from replay.reverb.writing.actor_journal import Journal
from replay.reverb.writing.journaled_writer import JournalProgress


def _episode(number):
    return messages.EpisodeReport(0, float(number), 4)


def test_episodes_are_kept_until_the_learner_knows_them():
    episodes = actor_reports.UnknownEpisodes(first=10)
    for number in range(10, 14):
        episodes.add(_episode(number))
    assert episodes.after(0, 14) == (10, [_episode(i) for i in range(10, 14)])
    assert episodes.after(12, 14) == (12, [_episode(12), _episode(13)])
    # A restarted learner may know less again: what is forgotten is forgotten.
    assert episodes.after(11, 14) == (12, [_episode(12), _episode(13)])
    # One that has lost its end may know more than this process has played.
    assert episodes.after(99, 14) == (14, [])
    episodes.add(_episode(14))
    assert episodes.after(14, 15) == (14, [_episode(14)])


def test_episodes_that_a_restart_would_not_know_of_are_not_told_yet():
    """Their numbers would be given to others."""
    episodes = actor_reports.UnknownEpisodes(first=0)
    for number in range(3):
        episodes.add(_episode(number))
    assert episodes.after(0, 2) == (0, [_episode(0), _episode(1)])
    assert episodes.after(2, 2) == (2, [])


def test_a_report_stays_small():
    episodes = actor_reports.UnknownEpisodes(first=0)
    for number in range(2 * actor_reports._MAX_EPISODES):
        episodes.add(_episode(number))
    first, found = episodes.after(3, 10_000)
    assert (first, len(found)) == (3, actor_reports._MAX_EPISODES)


class Writer:
    """As much of a journal's writer as reports are about."""

    journal_id = 7

    def __init__(self, incarnation, is_settled):
        self.incarnation, self.is_settled = incarnation, is_settled


def test_a_task_is_told_when_all_before_is_confirmed_by_this_server(tmp_path):
    with Journal(tmp_path / "own") as own, Journal(tmp_path / "absent") as absent:
        own.append(b"", {"frames": 40, "transitions": 9, "episodes": 2})
        reports = actor_reports.ActorReports(3, own, [absent])
        Writer.journal_id = own.journal_id
        reports.note_task(Writer(5, is_settled=False), 1)
        first, other = reports.make(None)
        assert first == messages.Report(own.journal_id, 3, 40, 9, -1, 0, 5, 2, [])
        assert other == messages.Report(absent.journal_id, 3, 0, 0, -1, 0, 0, 0, [])
        reports.note_task(Writer(5, is_settled=True), 1)
        reports.note_confirmed(JournalProgress(own.journal_id, 5, 1, 1, {}))
        reports.note_task(Writer(5, is_settled=False), 2)
        first = reports.make(None)[0]
        assert (first.task, first.confirmed, first.incarnation) == (1, 1, 5)
        reports.note_task(Writer(6, is_settled=False), 2)  # nothing is known of another server
        first = reports.make(None)[0]
        assert (first.task, first.confirmed, first.incarnation) == (-1, 0, 6)

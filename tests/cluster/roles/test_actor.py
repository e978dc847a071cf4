"""Parts of the actor that need no server."""

from cluster import context
from cluster.messages import messages
from cluster.roles import actor
from configs import probe


def _episode(number):
    return messages.Episode(0, float(number), 4)


def test_episodes_are_kept_until_the_learner_knows_them():
    episodes = actor._UnknownEpisodes(first=10)
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
    episodes = actor._UnknownEpisodes(first=0)
    for number in range(3):
        episodes.add(_episode(number))
    assert episodes.after(0, 2) == (0, [_episode(0), _episode(1)])
    assert episodes.after(2, 2) == (2, [])


def test_a_report_stays_small():
    episodes = actor._UnknownEpisodes(first=0)
    for number in range(2 * actor._MAX_EPISODES):
        episodes.add(_episode(number))
    first, found = episodes.after(3, 10_000)
    assert (first, len(found)) == (3, actor._MAX_EPISODES)


def test_journals_of_absent_actors_are_shared_out(tmp_path):
    for index in range(7):
        (tmp_path / "actors" / str(index)).mkdir(parents=True)
    roles = [
        context.Role("actor", probe.get_config(), tmp_path, num_actors=2, index=i) for i in range(2)
    ]
    names = [[path.name for path in role.absent_journal_dirs()] for role in roles]
    assert names == [["2", "4", "6"], ["3", "5"]]


def test_a_status_that_is_not_there_or_not_whole_is_empty(tmp_path):
    role = context.Role("actor", probe.get_config(), tmp_path, num_actors=2, index=1)
    assert context.read_status(tmp_path, "actor_1") == {}
    role.write_status({"frames": 5})
    assert context.read_status(tmp_path, "actor_1")["frames"] == 5
    context.status_path(tmp_path, "actor_1").write_text('{"frames": ')
    assert context.read_status(tmp_path, "actor_1") == {}

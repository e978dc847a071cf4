"""The learner's accounts of its actors' journals."""

from cluster.accounts import actor_accounts
from cluster.messages import messages


def report(**changes):
    first = messages.Report(
        journal_id=7,
        actor=0,
        frames=0,
        transitions=0,
        task=0,
        confirmed=0,
        incarnation=1,
        first_episode=0,
        episodes=[],
    )
    return first._replace(**changes)


def episodes(count):
    return [messages.EpisodeReport(0, float(i), 4) for i in range(count)]


def test_frames_are_added_over_journals_and_never_go_back():
    """A restarted actor begins at its last record, before what it had reported."""
    accounts = actor_accounts.ActorAccounts()
    for journal_id, frames in [(7, 40), (8, 100), (7, 80), (8, 60), (8, 140)]:
        accounts.apply(report(journal_id=journal_id, frames=frames))
    assert accounts.frames == 80 + 140


def test_each_episode_is_taken_once():
    accounts = actor_accounts.ActorAccounts()
    taken = accounts.apply(report(first_episode=0, episodes=episodes(3)))
    assert [number for number, _ in taken] == [0, 1, 2]
    assert accounts.apply(report(first_episode=0, episodes=episodes(3))) == []
    again = accounts.apply(report(first_episode=1, episodes=episodes(4)))
    assert [number for number, _ in again] == [3, 4]
    assert accounts.episodes == {7: 5}


def test_episodes_in_the_file_are_not_taken_again():
    accounts = actor_accounts.ActorAccounts()
    accounts.note_episodes([(7, 0), (7, 1), (8, 0)])
    taken = accounts.apply(report(first_episode=0, episodes=episodes(3)))
    assert [number for number, _ in taken] == [2]


def test_confirmations_of_another_server_do_not_count():
    accounts = actor_accounts.ActorAccounts()
    accounts.apply(report(journal_id=7, confirmed=5, incarnation=1))
    accounts.apply(report(journal_id=8, confirmed=6, incarnation=2))
    assert accounts.confirmed(2) == {8: 6}
    accounts.apply(report(journal_id=7, confirmed=9, incarnation=2))
    assert accounts.confirmed(2) == {7: 9, 8: 6}


def test_actors_that_are_not_heard_of_are_not_waited_for(monkeypatch):
    now = 100.0
    monkeypatch.setattr(actor_accounts.time, "monotonic", lambda: now)
    accounts = actor_accounts.ActorAccounts()
    accounts.apply(report(journal_id=7))
    now += 8.0
    accounts.apply(report(journal_id=8, task=1))
    assert [r.journal_id for r in accounts.alive()] == [7, 8]
    now += 8.0
    assert [r.journal_id for r in accounts.alive()] == [8]


def test_the_accounts_survive_a_snapshot():
    accounts, restored = actor_accounts.ActorAccounts(), actor_accounts.ActorAccounts()
    accounts.apply(report(journal_id=2**62, frames=2**40, transitions=2**39, episodes=episodes(2)))
    restored.set_state(accounts.get_state())
    assert restored.frames == 2**40
    assert restored.transitions == 2**39
    assert restored.episodes == {2**62: 2}


def test_empty_accounts_survive_too():
    restored = actor_accounts.ActorAccounts()
    restored.set_state(actor_accounts.ActorAccounts().get_state())
    assert restored.frames == 0


def test_a_task_is_left_when_all_that_are_alive_have_and_this_server_has_confirmed_it(monkeypatch):
    now = 100.0
    monkeypatch.setattr(actor_accounts.time, "monotonic", lambda: now)
    accounts = actor_accounts.ActorAccounts()
    assert not accounts.have_left(0, incarnation=5, num_actors=1)
    accounts.apply(report(journal_id=7, actor=0, task=1, incarnation=5))
    assert accounts.have_left(0, incarnation=5, num_actors=1)
    assert not accounts.have_left(1, incarnation=5, num_actors=1)
    assert not accounts.have_left(0, incarnation=6, num_actors=1)
    accounts.apply(report(journal_id=8, actor=1, task=-1, incarnation=5))
    assert not accounts.have_left(0, incarnation=5, num_actors=2)
    accounts.apply(report(journal_id=8, actor=1, task=1, incarnation=5))
    assert accounts.have_left(0, incarnation=5, num_actors=2)


def test_an_actor_that_was_never_heard_of_is_waited_for_only_for_a_while(monkeypatch):
    now = 100.0
    monkeypatch.setattr(actor_accounts.time, "monotonic", lambda: now)
    accounts = actor_accounts.ActorAccounts()
    accounts.apply(report(journal_id=7, actor=0, task=1, incarnation=5))
    assert not accounts.have_left(0, incarnation=5, num_actors=2)
    now += 11.0
    accounts.apply(report(journal_id=7, actor=0, task=1, incarnation=5))
    assert accounts.have_left(0, incarnation=5, num_actors=2)
    # Another server: whoever reports to it first is not the only one that is alive.
    accounts.await_all()
    assert not accounts.have_left(0, incarnation=5, num_actors=2)
    now += 11.0
    accounts.apply(report(journal_id=7, actor=0, task=1, incarnation=5))
    assert accounts.have_left(0, incarnation=5, num_actors=2)

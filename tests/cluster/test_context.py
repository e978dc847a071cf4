"""What the roles of a run share."""

from cluster import context
from configs import probe


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

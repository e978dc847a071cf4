"""Learner, actors and evaluator over a real replay server, without what they talk about.

Needs the replay server's environment: make replay-env.
"""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from dm_env import specs

from cluster import context
from cluster.learning import checkpoint_writing, replay_reader
from cluster.messages import learner_link, messages, publisher
from cluster.supervision import processes
from configs import probe
from replay.reverb import checkpoint_mark, connection, tables, wire
from replay.reverb.sampling import priorities
from tests import waiting
from training import derived

PYTHON = Path(__file__).parents[3] / ".venv-replay/bin/python"
PARAMS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
ANNOUNCEMENT = messages.Announcement(100, 7, 0, False, 0, 0.5, {}, {}, {})

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="no replay server's environment: make replay-env"
)


class Server:
    """The server of a run; it has an address file, as a run's has."""

    def __init__(self, directory):
        self.role = context.Role(
            "learner", derived.resolve(probe.get_config()), directory, num_actors=1
        )
        self._ready = directory / "port"
        self._directory = directory

    def start(self):
        self._ready.unlink(missing_ok=True)
        flags = {
            "tables": json.dumps(tables.tables(self.role.settings.replay)),
            "checkpoint_dir": self._directory / "checkpoints",
            "ready_file": self._ready,
        }
        command = [str(PYTHON), "-m", "replay.reverb.server"]
        command += [f"--{name}={value}" for name, value in flags.items()]
        self._process = processes.Process(command, self._directory / "log")
        waiting.wait_for(self._ready.exists)
        address = f"127.0.0.1:{self._ready.read_text().strip()}"
        connection.publish_address(self.role.address_file, address)
        return self

    def kill(self):
        self._process.send(signal.SIGKILL)
        self._process.wait()

    def connect(self, stop=lambda: False):
        return connection.connect(self.role.address_file, stop, "test")


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path).start()
    yield running
    running.kill()


def _parameters(version, updates=5, params=PARAMS):
    return messages.Parameters(version, updates * 4, updates, 0, params)


def _report(number):
    return messages.Report(
        7, 0, 40 * number, number, 0, 0, 0, number, [messages.EpisodeReport(0, 1.0, 4)]
    )


def test_what_is_published_arrives_and_is_published_again_to_another_server(server):
    """An announcement tells of the parameters that are there; a new server has neither at first."""
    fetched = []
    speaker = publisher.Publisher(server.connect)
    listener = learner_link.LearnerLink(
        server.connect, PARAMS, on_parameters=lambda p: fetched.append(p.version)
    )
    speaker.set_announcement(ANNOUNCEMENT)
    speaker.set_parameters(_parameters(7))
    waiting.wait_for(lambda: listener.parameters is not None)
    assert listener.announcement == ANNOUNCEMENT._replace(version=7)
    np.testing.assert_array_equal(listener.parameters.params["w"], PARAMS["w"])
    server.kill()
    server.start()
    speaker.set_parameters(_parameters(9))
    waiting.wait_for(lambda: listener.parameters.version == 9)
    waiting.wait_for(lambda: listener.announcement.version == 9)
    assert fetched[0] == 7
    assert fetched[-1] == 9
    speaker.close()
    listener.close()


def test_a_network_that_was_reset_is_fetched_before_its_task_is_announced(server, monkeypatch):
    """It has the counts of the one that the task before has ended with."""
    speaker = publisher.Publisher(server.connect)
    listener = learner_link.LearnerLink(server.connect, PARAMS)
    speaker.set_announcement(ANNOUNCEMENT)
    speaker.set_parameters(_parameters(7))
    waiting.wait_for(lambda: listener.announcement is not None)
    fetched = messages.latest

    def late(client, table, timeout_s):
        if table == tables.PARAMETERS:  # an actor would play meanwhile
            assert listener.announcement.task == 0
        return fetched(client, table, timeout_s)

    monkeypatch.setattr(messages, "latest", late)
    reset = {"w": -PARAMS["w"]}
    speaker.set_parameters(_parameters(8, params=reset))
    speaker.set_announcement(ANNOUNCEMENT._replace(task=1))
    waiting.wait_for(lambda: listener.announcement.version == 8)
    np.testing.assert_array_equal(listener.parameters.params["w"], reset["w"])
    speaker.close()
    listener.close()


def test_it_is_known_whether_the_server_has_what_was_published_last(server):
    speaker = publisher.Publisher(server.connect)
    assert not speaker.wait_until_told(0)
    speaker.set_parameters(_parameters(7))
    last = ANNOUNCEMENT._replace(finished=True)
    for announcement in (ANNOUNCEMENT, last):
        speaker.set_announcement(announcement)
    assert speaker.wait_until_told(600)
    with server.connect() as client:
        arrays = messages.latest(client, tables.ANNOUNCEMENT, 60)
        assert messages.Announcement.decode(arrays) == last._replace(version=7)
    server.kill()
    speaker.set_parameters(_parameters(8))
    assert not speaker.wait_until_told(0.1)
    server.start()
    assert speaker.wait_until_told(600)
    speaker.close()


def test_parameters_of_another_network_are_an_error(server):
    speaker = publisher.Publisher(server.connect)
    listener = learner_link.LearnerLink(server.connect, {"w": np.zeros(3, np.float32)})
    speaker.set_announcement(ANNOUNCEMENT)
    speaker.set_parameters(_parameters(7))

    def fails():
        try:
            return listener.announcement is None and False
        except wire.WireError as error:
            return "do all processes run the same configuration" in str(error)

    waiting.wait_for(fails)
    speaker.close()
    listener.close()


def test_each_report_reaches_the_learner_once(server):
    sent = []

    def reports(announcement):
        del announcement
        sent.append(len(sent))
        return [_report(sent[-1]), messages.EvaluatorReport(sent[-1], 0)]

    weights = priorities.SamplingWeights(0.5, 0.0)
    spec = specs.Array((2,), np.float32)
    source = replay_reader.ReplayReader(server.role, spec, weights, lambda: False)
    source.open()
    talker = learner_link.LearnerLink(server.connect, PARAMS, reports)
    found, fetched = [], []

    def enough():
        for report in source.poll_reports():
            if isinstance(report, messages.EvaluatorReport):
                fetched.append(report.version)
            else:
                found.append(report.first_episode)
        return len(fetched) >= 5

    waiting.wait_for(enough)
    talker.close()
    assert found == list(range(len(found)))
    assert fetched == list(range(len(fetched)))
    assert source.batch(0.1) is None  # there is no transition
    source.check()
    source.close()


def test_a_checkpoint_whose_clock_was_set_back_is_noticed_and_the_next_one_stays(server, tmp_path):
    """Reverb keeps the newest by name, and says that all went well."""
    root = tmp_path / "checkpoints"
    later = root / "2999-01-01T00:00:00+00:00"
    later.mkdir()
    (later / "DONE").touch()
    mark = checkpoint_mark.Mark(confirmed={7: 3})
    with server.connect() as client:
        incarnation = client.incarnation()
        with pytest.raises(wire.WireError, match="was the clock set back"):
            checkpoint_writing.write(client, incarnation, mark, root)
        assert [path.name for path in root.iterdir()] == [f"0001-01-01T{later.name}"]
        assert checkpoint_writing.write(client, incarnation, mark, root) == (incarnation, mark)
    (path,) = root.iterdir()
    assert (path / "DONE").exists()
    server.kill()
    server.start()
    with server.connect() as client:
        assert checkpoint_mark.read(client) == mark


def test_the_learner_notices_a_server_that_is_gone(server):
    source = replay_reader.ReplayReader(
        server.role,
        specs.Array((2,), np.float32),
        priorities.SamplingWeights(0.5, 0),
        lambda: False,
    )
    source.open()
    server.kill()
    with pytest.raises(wire.WireError):
        source.check()
    server.start()
    source.open()
    source.check()
    source.close()
